"""Label maps from a segmentation network in ONNX format, or from existing masks."""

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
from data.prepare.extractors.base import ExtractorOutput, SkipSequence
from util.errors import UserError
from util.images.visualization import CITYSCAPES_TRAIN_ID_TO_ID

# ImageNet's statistics, with which segmentation networks normalize their input
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
_IMAGENET_STD = np.array([0.229, 0.224, 0.225])
CITYSCAPES_THING_IDS = tuple(range(24, 34))


@dataclass(frozen=True)
class LabelMapExtractor:
    """Label maps, and instance maps if some labels are things.

    Attributes:
        source: Either an ONNX file, RGB (1, 3, H, W) normalized as for ImageNet -> scores (1, N, h, w) or ids
            (1, [1,] h, w); or a folder of masks, one for each frame of the video.
        label_nc: Number of labels.
        thing_ids: Labels with instances; each connected part of such a label is one instance.
        uses_cityscapes_train_ids: The network outputs Cityscapes' 19 training ids; they become the 35 label ids.
        image_folder: Stream name of the real images.
    """

    source: Path
    label_nc: int
    thing_ids: tuple[int, ...] = ()
    uses_cityscapes_train_ids: bool = False
    image_folder: str = "B"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"A": ".png", "inst": ".png"} if self.thing_ids else {"A": ".png"}

    def format_train_flags(self) -> str:
        return f"--label_nc {self.label_nc}" + (" --use_instance" if self.thing_ids else "")

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        for index, image in enumerate(images, start):
            label_map = self._read_or_predict(index, image)
            if label_map.max() >= self.label_nc:
                raise UserError(
                    f"{self.source}: frame {index} has label {label_map.max()}; --label_nc {self.label_nc} "
                    f"allows 0..{self.label_nc - 1}: raise it"
                )
            label_map = resize_labels_nearest(label_map, image.shape[:2])
            if self.thing_ids:
                yield {"A": label_map, "inst": compute_instance_map(label_map, self.thing_ids)}
            else:
                yield {"A": label_map}

    def _read_or_predict(self, index: int, image: np.ndarray) -> np.ndarray:
        if self.source.is_dir():
            return self.read_mask(index)
        label_map = predict_label_map(self.source, image)
        if not self.uses_cityscapes_train_ids:
            return label_map
        n_train_ids = len(CITYSCAPES_TRAIN_ID_TO_ID)
        train_id_to_id = np.array([*CITYSCAPES_TRAIN_ID_TO_ID, 0], np.uint8)  # last: void
        return train_id_to_id[label_map.clip(max=n_train_ids)]

    def read_mask(self, index: int) -> np.ndarray:
        """Read the mask of a frame of the video, (h, w)."""
        paths = _list_masks(self.source)
        if index >= len(paths):
            raise SkipSequence(f"{self.source} holds {len(paths)} masks, frame {index} has none")
        return np.asarray(open_image_unconverted(paths[index]))


@cache
def _list_masks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def predict_label_map(model_path: Path, image: np.ndarray) -> np.ndarray:
    """Run an ONNX segmentation network on an image.

    Args:
        model_path: The network; see `LabelMapExtractor.source` for its input and output.
        image: (H, W, 3) uint8 RGB; resized if the network's input size is fixed.

    Returns:
        (h, w) uint8 label ids at the network's output size.

    Raises:
        UserError: onnxruntime is not installed, or the file cannot be loaded.
    """
    session = _load_onnx_session(model_path)
    network_input = session.get_inputs()[0]
    height, width = (
        image_side if isinstance(side, str | None) else side  # a name or None: any size
        for side, image_side in zip(network_input.shape[2:], image.shape[:2], strict=True)
    )
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    normalized = ((resized / 255 - _IMAGENET_MEAN) / _IMAGENET_STD).astype(np.float32)
    output = session.run(None, {network_input.name: normalized.transpose(2, 0, 1)[None]})[0][0]
    if output.ndim == 3:
        output = output.argmax(0) if len(output) > 1 else output[0]
    return output.astype(np.uint8)


def resize_labels_nearest(label_map: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize a label map to size (H, W) with nearest-neighbor interpolation; returns uint8."""
    return cv2.resize(label_map.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def compute_instance_map(label_map: np.ndarray, thing_ids: tuple[int, ...]) -> np.ndarray:
    """Compute Cityscapes-style instance ids from connected components, (H, W) uint16.

    A pixel of a thing gets label * 1000 + index of its component, any other pixel its label.
    """
    instance_map = label_map.astype(np.uint16)
    for label in thing_ids:
        n_components, components = cv2.connectedComponents((label_map == label).astype(np.uint8))
        if n_components > 1:  # component 0 is the background
            is_thing = components > 0
            instance_map[is_thing] = label * 1000 + components[is_thing] - 1
    return instance_map


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
    except ImportError as error:
        raise UserError(
            f"--segmenter needs onnxruntime ({error}): pip install -e '.[video]'"
        ) from error
    try:
        return onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
        raise UserError(
            f"{model_path}: not an ONNX network that can be loaded ({str(error).splitlines()[0]})"
        ) from error
