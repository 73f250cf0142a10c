"""Edge maps of the images: a condition that needs nothing but the video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from data.prepare.extractors.base import ExtractorOutput

_BLUR_SIGMA = 1.2  # pixels; suppresses noise and compression artifacts
_MAX_GRADIENT = 60.0  # gray values per pixel that map to white
_CANNY_MEDIAN_FACTORS = 0.66, 1.33  # lower and upper threshold, relative to the median gray value


@dataclass(frozen=True)
class EdgeExtractor:
    """Edges of the image itself.

    Attributes:
        kind: `soft` (gradient magnitude, more stable over time) or `canny` (binary).
        image_folder: Stream name of the real images.
    """

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
        """Return the edge map of an RGB image, (H, W) uint8."""
        if self.kind == "soft":
            return compute_soft_edges(image)
        return compute_canny_edges(image)


def compute_soft_edges(image: np.ndarray) -> np.ndarray:
    """Compute the gradient magnitude of an RGB image, (H, W) uint8.

    The scale is fixed: the value of an edge does not depend on the rest of the image.
    """
    gray = _blur_gray(image)
    gradient_x = cv2.Scharr(gray, cv2.CV_32F, 1, 0)
    gradient_y = cv2.Scharr(gray, cv2.CV_32F, 0, 1)
    gradient = cv2.magnitude(gradient_x, gradient_y) / 16  # 16: sum of the Scharr kernel's weights
    return np.clip(gradient / _MAX_GRADIENT * 255, 0, 255).round().astype(np.uint8)


def compute_canny_edges(image: np.ndarray) -> np.ndarray:
    """Compute Canny edges of an RGB image, (H, W) uint8 of 0 and 255.

    The thresholds are proportional to the median gray value.
    """
    gray = _blur_gray(image)
    median = float(np.median(gray))
    low, high = (median * factor for factor in _CANNY_MEDIAN_FACTORS)
    return cv2.Canny(gray, low, high)


def _blur_gray(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), _BLUR_SIGMA)
