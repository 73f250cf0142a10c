"""Which frames of a video become which sequence. Pure: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """Frames start..stop-1 of a video. phase: train or test; empty where they are left out, for a reason."""

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
    """Every shot's last `test_share` for test, what comes before for training: never frames that training has seen.

    name: the video's, to which the shot's number is added. Shots of fewer than `shortest` frames are left out; a part
    for test that would be shorter than that stays with training.
    """
    pieces: list[Segment] = []
    bounds = [0, *cuts, n_frames]
    for number, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True), start=1):
        shot = f"{name}_{number:03}"
        held_out = round((stop - start) * test_fraction)
        middle = stop - held_out if min_frames <= held_out <= stop - start - min_frames else stop
        if stop - start < min_frames:
            pieces.append(
                Segment(shot, start, stop, "", f"{stop - start} frames are fewer than {min_frames}")
            )
        else:
            pieces.append(Segment(shot, start, middle, "train"))
            pieces += [Segment(shot, middle, stop, "test")] if middle < stop else []
    return pieces
