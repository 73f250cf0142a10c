"""Label maps from a segmentation network of the user's (ONNX), or from masks that are there already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.frame_reader import IMAGE_SUFFIXES
from data.image_io import open_image_unconverted
from data.prepare.extractors.edges import ExtractorOutput, SkipSequence
from util.errors import UserError
from util.images.visualization import CITYSCAPES_TRAIN_ID_TO_ID

_IMAGENET_MEAN, _IMAGENET_STD = (
    np.array([0.485, 0.456, 0.406]),
    np.array([0.229, 0.224, 0.225]),
)  # ImageNet's, which such nets expect
CITYSCAPES_THING_IDS = tuple(range(24, 34))


@dataclass(frozen=True)
class LabelMapExtractor:
    """source: an ONNX file, RGB (1, 3, H, W) normalised as for ImageNet -> scores (1, N, h, w) or ids (1, [1,] h, w);
    or a folder of masks, one for each frame of the video.

    label_nc: how many labels there are. things: labels that come one by one; each connected part is an instance.
    cityscapes: the network's 19 training ids become the 35 label ids.
    """

    source: Path
    label_nc: int
    thing_ids: tuple[int, ...] = ()
    uses_cityscapes_train_ids: bool = False
    image_folder: str = "B"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"A": ".png"} | ({"inst": ".png"} if self.thing_ids else {})

    def format_train_flags(self) -> str:
        return f"--label_nc {self.label_nc}" + (" --use_instance" if self.thing_ids else "")

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        for number, image in enumerate(images, start):
            ids = (
                self.read_mask(number)
                if self.source.is_dir()
                else predict_label_map(self.source, image)
            )
            if self.uses_cityscapes_train_ids and not self.source.is_dir():
                ids = np.array([*CITYSCAPES_TRAIN_ID_TO_ID, 0], np.uint8)[
                    ids.clip(max=len(CITYSCAPES_TRAIN_ID_TO_ID))
                ]
            if ids.max() >= self.label_nc:
                raise UserError(
                    f"{self.source}: frame {number} has label {ids.max()}; --label_nc {self.label_nc} "
                    f"allows 0..{self.label_nc - 1}: raise it"
                )
            labels = {"A": resize_labels_nearest(ids, image.shape[:2])}
            yield labels | (
                {"inst": compute_instance_map(labels["A"], self.thing_ids)}
                if self.thing_ids
                else {}
            )

    def read_mask(self, index: int) -> np.ndarray:
        masks = _list_masks(self.source)
        if index >= len(masks):
            raise SkipSequence(f"{self.source} holds {len(masks)} masks, frame {index} has none")
        return np.asarray(open_image_unconverted(masks[index]))


@cache
def _list_masks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def predict_label_map(model_path: Path, image: np.ndarray) -> np.ndarray:
    """(h, w) uint8 ids of an image (H, W, 3) uint8, at whatever size the network answers."""
    session = _load_onnx_session(model_path)
    asked = session.get_inputs()[0]
    height, width = (
        own if isinstance(side, str | None) else side
        for side, own in zip(asked.shape[2:], image.shape[:2], strict=True)
    )
    sized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    normal = (
        ((sized / 255 - _IMAGENET_MEAN) / _IMAGENET_STD).astype(np.float32).transpose(2, 0, 1)[None]
    )
    answer = session.run(None, {asked.name: normal})[0][0]
    if answer.ndim == 3:
        answer = answer.argmax(0) if len(answer) > 1 else answer[0]
    return answer.astype(np.uint8)


def resize_labels_nearest(label_map: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Ids at (H, W), the nearest one's."""
    return cv2.resize(label_map.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def compute_instance_map(label_map: np.ndarray, thing_ids: tuple[int, ...]) -> np.ndarray:
    """(H, W) uint16: the label of stuff; label * 1000 + count of each connected part of a thing, as Cityscapes does."""
    found = label_map.astype(np.uint16)
    for label in thing_ids:
        count, parts = cv2.connectedComponents((label_map == label).astype(np.uint8))
        if count > 1:
            found[parts > 0] = label * 1000 + parts[parts > 0] - 1
    return found


@cache
def _load_onnx_session(model_path: Path) -> Any:
    try:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import (
            Fail,
            InvalidGraph,
            InvalidProtobuf,
            NoSuchFile,
        )
    except ImportError as problem:
        raise UserError(
            f"--segmenter needs onnxruntime ({problem}): pip install -e '.[video]'"
        ) from problem
    try:
        return onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as problem:
        raise UserError(
            f"{model_path}: not an ONNX network that can be loaded ({str(problem).splitlines()[0]})"
        ) from problem
