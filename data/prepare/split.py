"""Split the frames of a video into sequences for training and test. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """Frames start..stop-1 of a video.

    Attributes:
        name: Name of the sequence.
        start: Index of the first frame.
        stop: Index after the last frame.
        phase: `train` or `test`; empty for frames that are left out.
        reason: Why the frames are left out.
    """

    name: str
    start: int
    stop: int
    phase: str
    reason: str = ""

    def __len__(self) -> int:
        return self.stop - self.start


def split_by_time(
    name: str, n_frames: int, cuts: Sequence[int], test_fraction: float, min_frames: int
) -> list[Segment]:
    """Split each shot into a training part and, at its end, a test part.

    Args:
        name: Name of the video; sequences are named after it and the number of their shot.
        n_frames: Length of the video.
        cuts: Frame indices that start a new shot.
        test_fraction: Length of the test part, relative to the shot.
        min_frames: Shortest sequence. Shorter shots are left out; without room for a test part of this length, the
            whole shot is for training.

    Returns:
        Segments that cover all frames, in order.
    """
    segments: list[Segment] = []
    bounds = [0, *cuts, n_frames]
    for number, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True), start=1):
        segment_name = f"{name}_{number:03}"
        length = stop - start
        if length < min_frames:
            reason = f"{length} frames are fewer than {min_frames}"
            segments.append(Segment(segment_name, start, stop, "", reason))
            continue
        n_test = round(length * test_fraction)
        if n_test == 0 or not min_frames <= n_test <= length - min_frames:
            segments.append(Segment(segment_name, start, stop, "train"))
            continue
        segments.append(Segment(segment_name, start, stop - n_test, "train"))
        segments.append(Segment(segment_name, stop - n_test, stop, "test"))
    return segments
