"""Batch norm of channels_last tensors on a CPU, with statistics as exact as those of contiguous tensors.

torch's own kernel for channels_last sums the pixels of a channel one after the other in float32, and loses two digits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def compute_channel_stats(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and (biased) variance (C,) of each channel of x (N, C, H, W), channels_last.

    First each column of each channel has statistics of its own, whose sums have only N * H terms.
    """
    rows = x.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)  # (N * H, W * C)
    column_mean, column_variance = torch.batch_norm_update_stats(rows, None, None, 0.0)
    means, variances = column_mean.view(-1, x.shape[1]), column_variance.view(-1, x.shape[1])
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def batch_norm_channels_last(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias.

    Mean and variance are the statistics of x, and gradients pass through them too. Differentiable once.
    """
    return _BatchNormChannelsLast.apply(x, mean, variance, weight, bias, eps)


def instance_norm_channels_last(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalize each sample of x (N, C, H, W), channels_last, by its own statistics.

    One pass over all samples: with a norm for each, their outputs would have to be copied together.
    """
    means, variances = zip(*(compute_channel_stats(sample) for sample in x.split(1)), strict=True)
    mean = torch.stack(means)[:, :, None, None]
    variance = torch.stack(variances)[:, :, None, None]
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
        x, mean, inverse_std, weight = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad.contiguous(memory_format=torch.channels_last),
            x,
            weight,
            None,
            None,
            mean,
            inverse_std,
            True,
            ctx.eps,
            (True, True, True),
        )
        return grad_x, None, None, grad_weight, grad_bias, None
