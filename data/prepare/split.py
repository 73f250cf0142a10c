"""Which frames of a video become which sequence. Pure: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Frames start..stop-1 of a video. phase: train or test; empty where they are left out, for a reason."""

    name: str
    start: int
    stop: int
    phase: str
    reason: str = ""

    def __len__(self) -> int:
        return self.stop - self.start


def split_by_time(name: str, n_frames: int, cuts: Sequence[int], test_share: float, shortest: int) -> list[Piece]:
    """Every shot's last `test_share` for test, what comes before for training: never frames that training has seen.

    name: the video's, to which the shot's number is added. Shots of fewer than `shortest` frames are left out; a part
    for test that would be shorter than that stays with training.
    """
    pieces: list[Piece] = []
    bounds = [0, *cuts, n_frames]
    for number, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True), start=1):
        shot = f"{name}_{number:03}"
        held_out = round((stop - start) * test_share)
        middle = stop - held_out if shortest <= held_out <= stop - start - shortest else stop
        if stop - start < shortest:
            pieces.append(Piece(shot, start, stop, "", f"{stop - start} frames are fewer than {shortest}"))
        else:
            pieces.append(Piece(shot, start, middle, "train"))
            pieces += [Piece(shot, middle, stop, "test")] if middle < stop else []
    return pieces
