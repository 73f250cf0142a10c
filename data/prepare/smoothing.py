"""Points that were found frame by frame: steady, and without gaps. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.prepare.extractors.edges import SkipSequence

_MIN_DETECTED_FRACTION = 0.5  # share of a sequence's frames in which they must be found
_SMOOTHING_KERNEL = np.array(
    [0.25, 0.5, 0.25]
)  # points jump by a pixel from frame to frame; what they are of does not


def interpolate_and_smooth(keypoints: Sequence[np.ndarray | None], subject: str) -> np.ndarray:
    """T times (N, D) -> (T, N, D): gaps filled between their neighbours, beyond the first and the last with these; then
    smoothed. NoCondition: `what` (a face) was found too seldom."""
    known = {
        number: points.ravel() for number, points in enumerate(keypoints) if points is not None
    }
    if not known or len(known) < _MIN_DETECTED_FRACTION * len(keypoints):
        raise SkipSequence(f"{subject} was found in {len(known)} of {len(keypoints)} frames only")
    tracks = np.stack(list(known.values())).T
    whole = np.stack(
        [np.interp(np.arange(len(keypoints)), list(known), track) for track in tracks], axis=1
    )
    padded = np.pad(whole, ((1, 1), (0, 0)), mode="edge")
    smooth = sum(
        weight * padded[shift : shift + len(whole)]
        for shift, weight in enumerate(_SMOOTHING_KERNEL)
    )
    shape = next(points.shape for points in keypoints if points is not None)
    return np.asarray(smooth).reshape(len(keypoints), *shape)
