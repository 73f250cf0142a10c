"""Fill gaps in keypoints that were detected frame by frame, and smooth them over time. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.prepare.extractors.base import SkipSequence

_MIN_DETECTED_FRACTION = 0.5  # of a sequence's frames
_SMOOTHING_KERNEL = np.array([0.25, 0.5, 0.25])  # detections jitter by about a pixel per frame


def interpolate_and_smooth(keypoints: Sequence[np.ndarray | None], subject: str) -> np.ndarray:
    """Fill the gaps of a sequence of keypoints, then smooth each coordinate over three frames.

    Args:
        keypoints: T arrays (N, D); None for frames without a detection.
        subject: What the detector looks for ("a face"), for the message.

    Returns:
        (T, N, D) float64.

    Raises:
        SkipSequence: Fewer than half of the frames have a detection.
    """
    n_frames = len(keypoints)
    n_detected = sum(points is not None for points in keypoints)
    if n_detected == 0 or n_detected < _MIN_DETECTED_FRACTION * n_frames:
        raise SkipSequence(f"{subject} was found in {n_detected} of {n_frames} frames only")
    filled = interpolate_missing_keypoints(keypoints)
    padded = np.pad(filled, ((1, 1), (0, 0), (0, 0)), mode="edge")
    smoothed = sum(
        weight * padded[shift : shift + n_frames] for shift, weight in enumerate(_SMOOTHING_KERNEL)
    )
    return np.asarray(smoothed)


def interpolate_missing_keypoints(keypoints: Sequence[np.ndarray | None]) -> np.ndarray:
    """Fill missing frames linearly between their neighbors; at both ends repeat the nearest frame.

    Args:
        keypoints: T arrays (N, D), at least one of which is not None.

    Returns:
        (T, N, D) float64.
    """
    detected = {t: points for t, points in enumerate(keypoints) if points is not None}
    shape = next(iter(detected.values())).shape
    coordinates = np.stack([points.ravel() for points in detected.values()], axis=1)  # (N*D, t)
    frames = np.arange(len(keypoints))
    filled = [np.interp(frames, list(detected), values) for values in coordinates]
    return np.stack(filled, axis=1).reshape(len(keypoints), *shape)
