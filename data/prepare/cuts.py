"""Where a video cuts from one shot to the next. Pure; pictures are (H, W, 3) uint8 RGB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

THUMBNAIL = 64, 36
BINS = 8, 4, 4  # of hue, saturation, value
CUT = 0.35  # change that no motion makes: half of the colours elsewhere, or all pixels another
SUDDEN = 3.0  # times the change of the frame before: a pan or a flicker changes much, but frame after frame


def find_cuts(pictures: Iterable[np.ndarray]) -> Iterator[int]:
    """The numbers of the frames that begin a new shot; the first frame, 0, is not among them."""
    last, last_change = None, 0.0
    for number, picture in enumerate(pictures):
        seen = _seen(picture)
        change = 0.0 if last is None else _change(last, seen)
        if change > max(CUT, SUDDEN * last_change):
            yield number
            change = 0.0  # the new shot's own motion is not known yet
        last, last_change = seen, change


def _seen(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A thumbnail in 0..1, and how its colours are distributed."""
    small = cv2.resize(picture, THUMBNAIL, interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    histogram = cv2.calcHist([colours], [0, 1, 2], None, list(BINS), [0, 180, 0, 256, 0, 256])
    return small / 255, histogram.ravel() / histogram.sum()


def _change(before: tuple[np.ndarray, np.ndarray], now: tuple[np.ndarray, np.ndarray]) -> float:
    """0 for equal pictures; the share of colours that went elsewhere, and the mean difference of pixels."""
    return float(np.abs(now[1] - before[1]).sum() / 2 + np.abs(now[0] - before[0]).mean())
