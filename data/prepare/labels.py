"""Label maps from a segmentation network of the user's (ONNX), or from masks that are there already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.domain import PICTURES
from data.pictures import open_map
from data.prepare.makers import Contents, NoCondition
from util.errors import UserError
from util.pictures import CITYSCAPES_TRAINED

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's, which such nets expect
CITYSCAPES_THINGS = tuple(range(24, 34))


@dataclass(frozen=True)
class Labels:
    """source: an ONNX file, RGB (1, 3, H, W) normalised as for ImageNet -> scores (1, N, h, w) or ids (1, [1,] h, w);
    or a folder of masks, one for each frame of the video.

    label_nc: how many labels there are. things: labels that come one by one; each connected part is an instance.
    cityscapes: the network's 19 training ids become the 35 label ids.
    """

    source: Path
    label_nc: int
    things: tuple[int, ...] = ()
    cityscapes: bool = False
    picture_folder: str = "B"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"A": ".png"} | ({"inst": ".png"} if self.things else {})

    def flags(self) -> str:
        return f"--label_nc {self.label_nc}" + (" --use_instance" if self.things else "")

    def __call__(self, pictures: Iterable[np.ndarray], start: int) -> Iterator[Contents]:
        for number, picture in enumerate(pictures, start):
            ids = self.read_mask(number) if self.source.is_dir() else segment(self.source, picture)
            if self.cityscapes and not self.source.is_dir():
                ids = np.array([*CITYSCAPES_TRAINED, 0], np.uint8)[ids.clip(max=len(CITYSCAPES_TRAINED))]
            if ids.max() >= self.label_nc:
                raise UserError(f"{self.source}: frame {number} has label {ids.max()}; --label_nc {self.label_nc} "
                                f"allows 0..{self.label_nc - 1}: raise it")
            labels = {"A": fitted(ids, picture.shape[:2])}
            yield labels | ({"inst": instances(labels["A"], self.things)} if self.things else {})

    def read_mask(self, number: int) -> np.ndarray:
        masks = _masks(self.source)
        if number >= len(masks):
            raise NoCondition(f"{self.source} holds {len(masks)} masks, frame {number} has none")
        return np.asarray(open_map(masks[number]))


@cache
def _masks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def segment(model: Path, picture: np.ndarray) -> np.ndarray:
    """(h, w) uint8 ids of a picture (H, W, 3) uint8, at whatever size the network answers."""
    session = _session(model)
    asked = session.get_inputs()[0]
    height, width = (own if isinstance(side, str | None) else side
                     for side, own in zip(asked.shape[2:], picture.shape[:2], strict=True))
    sized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    normal = ((sized / 255 - MEAN) / DEVIATION).astype(np.float32).transpose(2, 0, 1)[None]
    answer = session.run(None, {asked.name: normal})[0][0]
    if answer.ndim == 3:
        answer = answer.argmax(0) if len(answer) > 1 else answer[0]
    return answer.astype(np.uint8)


def fitted(ids: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Ids at (H, W), the nearest one's."""
    return cv2.resize(ids.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def instances(labels: np.ndarray, things: tuple[int, ...]) -> np.ndarray:
    """(H, W) uint16: the label of stuff; label * 1000 + count of each connected part of a thing, as Cityscapes does."""
    found = labels.astype(np.uint16)
    for label in things:
        count, parts = cv2.connectedComponents((labels == label).astype(np.uint8))
        if count > 1:
            found[parts > 0] = label * 1000 + parts[parts > 0] - 1
    return found


@cache
def _session(model: Path) -> Any:
    try:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile
    except ImportError as problem:
        raise UserError(f"--segmenter needs onnxruntime ({problem}): pip install vid2vid[video]") from problem
    try:
        return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as problem:
        raise UserError(f"{model}: not an ONNX network that can be loaded ({str(problem).splitlines()[0]})"
                        ) from problem
