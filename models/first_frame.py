"""Where the first tG-1 pictures of a sequence come from in synthesis (SPEC 7): one small interface for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from util.clip import Clip

FirstPictures = Callable[[Sequence[Clip]], Tensor]  # the first tG-1 frames -> (B, tG-1, 3, H, W) in [-1, 1]


def real_pictures(frames: Sequence[Clip]) -> Tensor:
    """`--use_real_img`: as they are in the data."""
    return torch.cat([frame.picture for frame in frames if frame.picture is not None], dim=1)


def zeros(frames: Sequence[Clip]) -> Tensor:
    """`--no_first_img`: nothing; the network was trained to begin by itself."""
    condition = frames[0].condition
    return torch.zeros(condition.shape[0], len(frames), 3, *condition.shape[-2:], device=condition.device)
