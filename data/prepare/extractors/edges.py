"""What is made of an image so that a network can learn the way back: one maker a mode of `scripts/prepare.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

FileContent = np.ndarray | str  # an image or map for a PNG file, or a text
ExtractorOutput = Mapping[str, FileContent]  # by the stream's folder: A, inst, keypoints, openpose


class SkipSequence(Exception):
    """Why a sequence has none: it is left out, and the page says so."""


class ConditionExtractor(Protocol):
    """A frozen dataclass of the mode's own settings."""

    @property
    def image_folder(self) -> str:
        """Where `train.py` looks for the images: B or img."""
        ...

    @property
    def suffixes(self) -> Mapping[str, str]:
        """Of the files in each folder that the maker fills; the first one is shown on the page."""
        ...

    def format_train_flags(self) -> str:
        """What `train.py` must be told to read it."""
        ...

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        """One for each of a sequence's images, (H, W, 3) uint8 RGB. start: the first one's number in its video."""
        ...


@dataclass(frozen=True)
class EdgeExtractor:
    """Edges of the image itself: all that is needed is a video. kind: soft (slopes, steadier in time) or canny."""

    kind: str = "soft"
    image_folder: str = "B"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"A": ".png"}

    def format_train_flags(self) -> str:
        return "--input_nc 1"

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        for image in images:
            yield {"A": self.extract_edges(image)}

    def extract_edges(self, image: np.ndarray) -> np.ndarray:
        """(H, W) uint8."""
        return compute_soft_edges(image) if self.kind == "soft" else compute_canny_edges(image)


_BLUR_SIGMA = 1.2  # pixels: below that is noise and compression
_MAX_GRADIENT = 60.0  # grey levels a pixel that are drawn white
_CANNY_MEDIAN_FACTORS = 0.66, 1.33  # thresholds, times the median grey


def compute_soft_edges(image: np.ndarray) -> np.ndarray:
    """How steep grey is, (H, W) uint8; the scale is fixed, so that an edge does not change when others come and go."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), _BLUR_SIGMA)
    slope = (
        cv2.magnitude(cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)) / 16
    )
    return np.clip(slope / _MAX_GRADIENT * 255, 0, 255).round().astype(np.uint8)


def compute_canny_edges(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 0 or 255; OpenCV's, with thresholds around the median grey."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), _BLUR_SIGMA)
    low, high = (float(np.median(grey)) * factor for factor in _CANNY_MEDIAN_FACTORS)
    return cv2.Canny(grey, low, high)


@dataclass(frozen=True)
class OpenPoseFileExtractor:
    """Keypoint files that the user brings: OpenPose writes one a frame, in order. folder: of one video's."""

    folder: Path
    image_folder: str = "img"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"openpose": "_keypoints.json"}

    def format_train_flags(self) -> str:
        return "--dataset_mode pose --openpose_only --input_nc 3"

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        files = sorted(self.folder.glob("*.json"))
        for number, _ in enumerate(images, start):
            if number >= len(files):
                raise SkipSequence(
                    f"{self.folder} holds {len(files)} JSON files, frame {number} has none"
                )
            yield {"openpose": files[number].read_text(encoding="utf-8")}
