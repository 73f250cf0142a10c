"""Where a video cuts from one shot to the next. Pure; images are (H, W, 3) uint8 RGB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

_THUMBNAIL_SIZE = 64, 36
_HISTOGRAM_BINS = 8, 4, 4  # of hue, saturation, value
_CUT_THRESHOLD = (
    0.35  # change that no motion makes: half of the colours elsewhere, or all pixels another
)
_MIN_CHANGE_RATIO = 3.0  # times the change of the frame before: a pan or a flicker changes much, but frame after frame


def detect_scene_cuts(images: Iterable[np.ndarray]) -> Iterator[int]:
    """The numbers of the frames that begin a new shot; the first frame, 0, is not among them."""
    last, last_change = None, 0.0
    for number, image in enumerate(images):
        seen = _compute_signature(image)
        change = 0.0 if last is None else _compute_change(last, seen)
        if change > max(_CUT_THRESHOLD, _MIN_CHANGE_RATIO * last_change):
            yield number
            change = 0.0  # the new shot's own motion is not known yet
        last, last_change = seen, change


def _compute_signature(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A thumbnail in 0..1, and how its colours are distributed."""
    small = cv2.resize(image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    histogram = cv2.calcHist(
        [colours], [0, 1, 2], None, list(_HISTOGRAM_BINS), [0, 180, 0, 256, 0, 256]
    )
    return small / 255, histogram.ravel() / histogram.sum()


def _compute_change(
    previous: tuple[np.ndarray, np.ndarray], current: tuple[np.ndarray, np.ndarray]
) -> float:
    """0 for equal images; the share of colours that went elsewhere, and the mean difference of pixels."""
    return float(
        np.abs(current[1] - previous[1]).sum() / 2 + np.abs(current[0] - previous[0]).mean()
    )
