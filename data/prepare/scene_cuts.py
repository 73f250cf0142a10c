"""Scene cut detection on a stream of images, (H, W, 3) uint8 RGB. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

_THUMBNAIL_SIZE = 64, 36
_HISTOGRAM_BINS = 8, 4, 4  # of hue, saturation and value
# Both conditions must hold for a cut. Motion alone stays below the first; a pan or a flicker changes much, but from
# every frame to the next.
_CUT_THRESHOLD = 0.35  # minimum change
_MIN_CHANGE_RATIO = 3.0  # minimum change, relative to that of the previous frame


def detect_scene_cuts(images: Iterable[np.ndarray]) -> Iterator[int]:
    """Yield the index of each image that starts a new shot, the first image excepted."""
    previous = None
    previous_change = 0.0
    for index, image in enumerate(images):
        current = _compute_signature(image)
        change = 0.0 if previous is None else _compute_change(previous, current)
        if change > max(_CUT_THRESHOLD, _MIN_CHANGE_RATIO * previous_change):
            yield index
            change = 0.0  # the motion within the new shot is still unknown
        previous = current
        previous_change = change


def _compute_signature(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a thumbnail in 0..1 and its normalized color histogram."""
    thumbnail = cv2.resize(image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2HSV)
    ranges = [0, 180, 0, 256, 0, 256]
    histogram = cv2.calcHist([hsv], [0, 1, 2], None, list(_HISTOGRAM_BINS), ranges)
    return thumbnail / 255, histogram.ravel() / histogram.sum()


def _compute_change(
    previous: tuple[np.ndarray, np.ndarray], current: tuple[np.ndarray, np.ndarray]
) -> float:
    """Return the change between two signatures, in 0..2.

    It is the fraction of pixels that moved to another histogram bin, plus the mean absolute pixel difference.
    """
    histogram_change = np.abs(current[1] - previous[1]).sum() / 2
    pixel_change = np.abs(current[0] - previous[0]).mean()
    return float(histogram_change + pixel_change)
