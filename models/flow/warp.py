"""The one warp (SPEC 6): every flow in the program is in pixels and backward, and is read here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """`image(p + flow(p))`, bilinear, points outside clamped to the border.

    image: (N, C, H, W). flow: (N, 2, H, W) in pixels, channel 0 = x, 1 = y; a flow of (1, 0) reads exactly one
    pixel to the right. Positions keep at least float32, since half precision cannot count the pixels of a row.
    Returns (N, C, H, W) in the image's type.
    """
    assert (
        image.shape[0] == flow.shape[0] and image.shape[2:] == flow.shape[2:] and flow.shape[1] == 2
    )
    exact = torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)
    grid = make_sampling_grid(flow.to(exact))
    return F.grid_sample(image.to(exact), grid, "bilinear", "border", align_corners=True).to(
        image.dtype
    )


def make_sampling_grid(flow: Tensor) -> Tensor:
    """Where a flow (N, 2, H, W) points: (N, H, W, 2) in grid_sample's units, -1 and 1 the outer pixels' centres."""
    height, width = flow.shape[2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]
    return torch.stack([_normalize_coordinate(x, width), _normalize_coordinate(y, height)], dim=-1)


def _normalize_coordinate(position: Tensor, size: int) -> Tensor:
    return position * (2 / max(size - 1, 1)) - 1
