"""Points that were found frame by frame: steady, and without gaps. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.prepare.makers import NoCondition

ENOUGH = 0.5  # share of a sequence's frames in which they must be found
NEIGHBOURS = np.array([0.25, 0.5, 0.25])  # points jump by a pixel from frame to frame; what they are of does not


def steady(found: Sequence[np.ndarray | None], what: str) -> np.ndarray:
    """T times (N, D) -> (T, N, D): gaps filled between their neighbours, beyond the first and the last with these; then
    smoothed. NoCondition: `what` (a face) was found too seldom."""
    known = {number: points.ravel() for number, points in enumerate(found) if points is not None}
    if not known or len(known) < ENOUGH * len(found):
        raise NoCondition(f"{what} was found in {len(known)} of {len(found)} frames only")
    tracks = np.stack(list(known.values())).T
    whole = np.stack([np.interp(np.arange(len(found)), list(known), track) for track in tracks], axis=1)
    padded = np.pad(whole, ((1, 1), (0, 0)), mode="edge")
    smooth = sum(weight * padded[shift:shift + len(whole)] for shift, weight in enumerate(NEIGHBOURS))
    shape = next(points.shape for points in found if points is not None)
    return np.asarray(smooth).reshape(len(found), *shape)
