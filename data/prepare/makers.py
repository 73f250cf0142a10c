"""What is made of a picture so that a network can learn the way back: one maker a mode of `scripts/prepare.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

Content = np.ndarray | str  # a picture or map for a PNG file, or a text
Contents = Mapping[str, Content]  # by the stream's folder: A, inst, keypoints, openpose


class NoCondition(Exception):
    """Why a sequence has none: it is left out, and the page says so."""


class Maker(Protocol):
    """A frozen dataclass of the mode's own settings."""

    @property
    def picture_folder(self) -> str:
        """Where `train.py` looks for the pictures: B or img."""
        ...

    @property
    def suffixes(self) -> Mapping[str, str]:
        """Of the files in each folder that the maker fills; the first one is shown on the page."""
        ...

    def flags(self) -> str:
        """What `train.py` must be told to read it."""
        ...

    def __call__(self, pictures: Iterable[np.ndarray], start: int) -> Iterator[Contents]:
        """One for each of a sequence's pictures, (H, W, 3) uint8 RGB. start: the first one's number in its video."""
        ...


@dataclass(frozen=True)
class Edges:
    """Edges of the picture itself: all that is needed is a video. kind: soft (slopes, steadier in time) or canny."""

    kind: str = "soft"
    picture_folder: str = "B"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"A": ".png"}

    def flags(self) -> str:
        return "--input_nc 1"

    def __call__(self, pictures: Iterable[np.ndarray], start: int) -> Iterator[Contents]:
        for picture in pictures:
            yield {"A": self.edges(picture)}

    def edges(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) uint8."""
        return soft_edges(picture) if self.kind == "soft" else canny_edges(picture)


BLUR = 1.2  # pixels: below that is noise and compression
FULL_SLOPE = 60.0  # grey levels a pixel that are drawn white
CANNY_AROUND = 0.66, 1.33  # thresholds, times the median grey


def soft_edges(picture: np.ndarray) -> np.ndarray:
    """How steep grey is, (H, W) uint8; the scale is fixed, so that an edge does not change when others come and go."""
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), BLUR)
    slope = cv2.magnitude(cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)) / 16
    return np.clip(slope / FULL_SLOPE * 255, 0, 255).round().astype(np.uint8)


def canny_edges(picture: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 0 or 255; OpenCV's, with thresholds around the median grey."""
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), BLUR)
    low, high = (float(np.median(grey)) * factor for factor in CANNY_AROUND)
    return cv2.Canny(grey, low, high)


@dataclass(frozen=True)
class OpenPose:
    """Keypoint files that the user brings: OpenPose writes one a frame, in order. folder: of one video's."""

    folder: Path
    picture_folder: str = "img"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"openpose": "_keypoints.json"}

    def flags(self) -> str:
        return "--dataset_mode pose --openpose_only --input_nc 3"

    def __call__(self, pictures: Iterable[np.ndarray], start: int) -> Iterator[Contents]:
        files = sorted(self.folder.glob("*.json"))
        for number, _ in enumerate(pictures, start):
            if number >= len(files):
                raise NoCondition(f"{self.folder} holds {len(files)} JSON files, frame {number} has none")
            yield {"openpose": files[number].read_text(encoding="utf-8")}
