"""Convolutions of large kernels to few channels.

A vector unit works on 16 channels at a time, whether or not there are so many results. So each line of the kernel makes
channels of its own, 7 * 3 for an image, and 7 sums of shifted maps give the result; or, for the one score of a small
patch, each tap does, 4 * 4.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from util.distributed.amp import promote_to_float32


def conv2d_by_kernel_rows(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.conv2d(x, weight, bias): (N, C, H, W) and (O, C, h, w) -> (N, O, H - h + 1, W - w + 1)."""
    lines = rearrange(weight, "o c h w -> (h o) c 1 w")
    apart = F.conv2d(x, lines).unflatten(1, (weight.shape[2], weight.shape[0]))
    total = _ShiftedSum.apply(promote_to_float32(apart))
    return total if bias is None else total + bias[:, None, None]


def conv2d_by_kernel_taps(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """F.conv2d(x, weight, bias, padding=padding): (N, C, H, W) and (O, C, side, side) -> (N, O, h, w)."""
    side = weight.shape[-1]
    taps = rearrange(weight.flip(2, 3), "o c h w -> (o h w) c 1 1")
    height, width = (length + 2 * padding - side + 1 for length in x.shape[2:])
    total = F.fold(
        promote_to_float32(F.conv2d(x, taps)).flatten(2),
        (height, width),
        side,
        padding=side - 1 - padding,
    )
    return total if bias is None else total + bias[:, None, None]


class _ShiftedSum(torch.autograd.Function):
    """(N, h, O, H, W): the sum of map i from line i on, (N, O, H - h + 1, W), as autograd would do it with a map of
    zeros for each line."""

    @staticmethod
    def forward(ctx: Any, feature_maps: Tensor) -> Tensor:
        ctx.count = feature_maps.shape[1]
        height = feature_maps.shape[3] - ctx.count + 1
        total = feature_maps[:, 0, :, :height].contiguous()
        for i in range(1, ctx.count):
            total += feature_maps[:, i, :, i : i + height]
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.stack(
            [F.pad(grad, (0, 0, i, ctx.count - 1 - i)) for i in range(ctx.count)], dim=1
        )
