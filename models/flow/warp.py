"""Backward warping. All flow in the program is backward and in pixels, and is applied here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Return `image(p + flow(p))`, bilinear; positions outside the image are clamped to its border.

    Args:
        image: (N, C, H, W).
        flow: (N, 2, H, W) in pixels, channel 0 = x, channel 1 = y. A flow of (1, 0) reads the pixel to the right.

    Returns:
        (N, C, H, W) in the image's dtype.
    """
    assert image.shape[0] == flow.shape[0] and image.shape[2:] == flow.shape[2:]
    assert flow.shape[1] == 2
    # Positions need at least float32: bfloat16 cannot represent every pixel index above 256.
    dtype = torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)
    grid = make_sampling_grid(flow.to(dtype))
    warped = F.grid_sample(image.to(dtype), grid, "bilinear", "border", align_corners=True)
    return warped.to(image.dtype)


def make_sampling_grid(flow: Tensor) -> Tensor:
    """Convert flow (N, 2, H, W) in pixels to a grid (N, H, W, 2) for `grid_sample(align_corners=True)`."""
    height, width = flow.shape[2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]
    return torch.stack([_normalize_coordinate(x, width), _normalize_coordinate(y, height)], dim=-1)


def _normalize_coordinate(position: Tensor, size: int) -> Tensor:
    """Map pixel positions 0..size-1 to -1..1."""
    return position * (2 / max(size - 1, 1)) - 1
