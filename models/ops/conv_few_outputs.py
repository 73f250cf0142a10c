"""Convolutions of large kernels to few output channels, for CPUs.

A vector unit computes 16 channels at a time, even if fewer are needed. So each row of the kernel gets output channels
of its own, 7 * 3 for an image, and 7 shifted maps are summed. For the single score of a patch, each tap of the kernel
gets one, 4 * 4.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from util.distributed.amp import promote_to_float32


def conv2d_by_kernel_rows(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute F.conv2d(x, weight, bias): (N, C, H, W) and (O, C, h, w) -> (N, O, H - h + 1, W - w + 1)."""
    row_weight = rearrange(weight, "o c h w -> (h o) c 1 w")
    row_maps = F.conv2d(x, row_weight).unflatten(1, (weight.shape[2], weight.shape[0]))
    y = _ShiftedSum.apply(promote_to_float32(row_maps))
    return y if bias is None else y + bias[:, None, None]


def conv2d_by_kernel_taps(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Compute F.conv2d(x, weight, bias, padding=padding): (N, C, H, W) and (O, C, side, side) -> (N, O, h, w)."""
    side = weight.shape[-1]
    tap_weight = rearrange(weight.flip(2, 3), "o c h w -> (o h w) c 1 1")
    tap_maps = promote_to_float32(F.conv2d(x, tap_weight)).flatten(2)
    height, width = (length + 2 * padding - side + 1 for length in x.shape[2:])
    y = F.fold(tap_maps, (height, width), side, padding=side - 1 - padding)
    return y if bias is None else y + bias[:, None, None]


class _ShiftedSum(torch.autograd.Function):
    """Sum of row_maps (N, h, O, H, W) over h, map i shifted up by i rows: (N, O, H - h + 1, W).

    Autograd's own backward pass would make a map of zeros for each row.
    """

    @staticmethod
    def forward(ctx: Any, row_maps: Tensor) -> Tensor:
        ctx.n_rows = row_maps.shape[1]
        height = row_maps.shape[3] - ctx.n_rows + 1
        y = row_maps[:, 0, :, :height].contiguous()
        for i in range(1, ctx.n_rows):
            y += row_maps[:, i, :, i : i + height]
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        shifted = [F.pad(grad, (0, 0, i, ctx.n_rows - 1 - i)) for i in range(ctx.n_rows)]
        return torch.stack(shifted, dim=1)
