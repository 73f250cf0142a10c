"""Batch norm of maps whose channels lie last, with statistics as exact as those of torch's other layout.

Torch's own kernel for this layout sums a channel's pixels one after the other in float32, and loses two digits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def compute_channel_stats(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of (N, C, H, W), channels last: (C,).

    Each place in a line is a channel of its own first, whose sums are only as long as there are lines.
    """
    places = x.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)
    means, variances = (
        part.view(-1, x.shape[1]) for part in torch.batch_norm_update_stats(places, None, None, 0.0)
    )
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def batch_norm_channels_last(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance are the statistics of x, and gradients
    pass through them too. Differentiable once."""
    return _BatchNormChannelsLast.apply(x, mean, variance, weight, bias, eps)


def instance_norm_channels_last(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Every sample of (N, C, H, W), channels last, by its own statistics: one pass over all, where norms of one sample
    each would leave parts to be copied together."""
    found = zip(*(compute_channel_stats(sample) for sample in x.split(1)), strict=True)
    mean, variance = (torch.stack(of_samples)[:, :, None, None] for of_samples in found)
    scale = weight[:, None, None] * (variance + eps).rsqrt()
    return torch.addcmul(bias[:, None, None] - mean * scale, x, scale).to(x.dtype)


class _BatchNormChannelsLast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, mean, (variance + eps).rsqrt(), weight)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, inverse, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            grad.contiguous(memory_format=torch.channels_last),
            x,
            weight,
            None,
            None,
            mean,
            inverse,
            True,
            ctx.eps,
            (True, True, True),
        )
        return to_x, None, None, to_weight, to_bias, None
