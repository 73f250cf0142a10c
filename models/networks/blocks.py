"""The layers that every network is stacked from. Lists of layers, so that a stack keeps the published numbering."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.networks.sparse_labels import Condition, LabelConv2d, LabelReflectionPad2d, SparseOneHot
from models.ops.batch_norm import (
    batch_norm_channels_last,
    compute_channel_stats,
    instance_norm_channels_last,
)
from models.ops.conv_few_outputs import conv2d_by_kernel_rows
from models.ops.dispatch import (
    current_op_choice,
    should_use_channels_last_norm,
    should_use_winograd,
    uses_channels_last_ops,
)
from models.ops.winograd import winograd_conv2d

NormKind = Literal["batch", "instance"]


class BatchStatNorm2d(nn.BatchNorm2d):
    """Affine batch norm that always uses the statistics of its input, in test too: published weights depend on it."""

    per_sample_stats = (
        False  # whether each sample has statistics of its own; running ones then stay as they are
    )

    @property
    def updates_running_stats(self) -> bool:
        """Whether running statistics follow the input's."""
        return self.training and not self.per_sample_stats

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        return (
            self._normalize_per_sample(x)
            if self.per_sample_stats and len(x) > 1
            else self._normalize(x)
        )

    def _normalize_per_sample(self, x: Tensor) -> Tensor:
        if should_use_channels_last_norm(x):
            return instance_norm_channels_last(x, self.weight, self.bias, self.eps)
        return F.instance_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _normalize(self, x: Tensor) -> Tensor:
        if should_use_channels_last_norm(x):
            return self._normalize_channels_last(x)
        running = (
            (self.running_mean, self.running_var) if self.updates_running_stats else (None, None)
        )
        return F.batch_norm(
            x, *running, self.weight, self.bias, True, self.momentum or 0.0, self.eps
        )

    def _normalize_channels_last(self, x: Tensor) -> Tensor:
        """The same of maps whose channels lie last."""
        mean, variance = compute_channel_stats(x.detach())
        if (
            self.updates_running_stats
            and self.running_mean is not None
            and self.running_var is not None
        ):
            count = x.numel() // x.shape[1]
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum or 0.0)
        return batch_norm_channels_last(x, mean, variance, self.weight, self.bias, self.eps)


class TrackedInstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm without affine; its running statistics are kept, as in published files, but never used."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        running = (self.running_mean, self.running_var) if self.training else (None, None)
        return F.instance_norm(x, *running, None, None, True, self.momentum or 0.0, self.eps)


def norm(norm_kind: NormKind, channels: int) -> nn.Module:
    return BatchStatNorm2d(channels) if norm_kind == "batch" else TrackedInstanceNorm2d(channels)


class ReflectionPad2d(nn.ReflectionPad2d):
    """In the precision of x: for a CPU, autocast knows no padding in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


class Conv3x3(nn.Conv2d):
    """3x3 convolution of stride 1. kernels: its weight as `winograd` wants it, where nobody learns (`models.inference.prepare`)."""

    winograd_weight: Tensor | None = None

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        if should_use_winograd(x, self.weight):
            return winograd_conv2d(
                x, self.weight, self.bias, transformed_weight=self.winograd_weight
            )
        return super().forward(x)


class HeadConv2d(nn.Conv2d):
    """7x7 convolution to few channels."""

    def forward(self, x: Tensor) -> Tensor:
        return (
            conv2d_by_kernel_rows(x, self.weight, self.bias)
            if uses_channels_last_ops(x)
            else super().forward(x)
        )


class ResnetBlock(nn.Module):
    """x + (pad, conv3, norm, relu, pad, conv3, norm)(x)."""

    def __init__(self, channels: int, norm_kind: NormKind) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            ReflectionPad2d(1),
            Conv3x3(channels, channels),
            norm(norm_kind, channels),
            nn.ReLU(inplace=True),
            ReflectionPad2d(1),
            Conv3x3(channels, channels),
            norm(norm_kind, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def stem(in_channels: int, out_channels: int, norm_kind: NormKind) -> list[nn.Module]:
    """7x7 convolution at full size."""
    return [
        LabelReflectionPad2d(3),
        LabelConv2d(in_channels, out_channels, 7),
        norm(norm_kind, out_channels),
        nn.ReLU(inplace=True),
    ]


def down(in_channels: int, out_channels: int, norm_kind: NormKind) -> list[nn.Module]:
    """Halves height and width."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1),
        norm(norm_kind, out_channels),
        nn.ReLU(inplace=True),
    ]


def up(in_channels: int, out_channels: int, norm_kind: NormKind) -> list[nn.Module]:
    """Doubles height and width."""
    return [
        nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1),
        norm(norm_kind, out_channels),
        nn.ReLU(inplace=True),
    ]


def blocks(count: int, channels: int, norm_kind: NormKind) -> list[nn.Module]:
    return [ResnetBlock(channels, norm_kind) for _ in range(count)]


def head(in_channels: int, out_channels: int, activation: nn.Module | None) -> nn.Sequential:
    """7x7 convolution to the result."""
    layers = [ReflectionPad2d(3), HeadConv2d(in_channels, out_channels, 7)]
    return nn.Sequential(*layers, activation) if activation else nn.Sequential(*layers)


@contextmanager
def _frozen_running_stats(stage: nn.Module, op_choice: AbstractContextManager) -> Iterator[None]:
    """Leaves running statistics as they are, and chooses `as_before`."""
    momenta = {
        part: part.momentum
        for part in stage.modules()
        if isinstance(part, BatchStatNorm2d | TrackedInstanceNorm2d)
    }
    try:
        for part in momenta:
            part.momentum = 0.0
        with op_choice:
            yield
    finally:
        for part, momentum in momenta.items():
            part.momentum = momentum


@contextmanager
def per_sample_batch_stats(network: nn.Module) -> Iterator[None]:
    """Batch norms give each sample of a batch the statistics that it would have alone, and count none."""
    norms = [part for part in network.modules() if isinstance(part, BatchStatNorm2d)]
    try:
        for part in norms:
            part.per_sample_stats = True
        yield
    finally:
        for part in norms:
            part.per_sample_stats = False


def checkpoint_stage(stage: nn.Module, x: Condition) -> Tensor:
    """stage(x), whose inner activations are not kept but computed again on the way back, when norms have counted x
    already."""
    return checkpoint(
        stage,
        x,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), _frozen_running_stats(stage, current_op_choice())),
    )


def avg_pool_half(x: Tensor) -> Tensor:
    """Half the size: the one step of every pyramid (SPEC 6), border not counted. (..., H, W)."""
    return F.avg_pool2d(
        x.flatten(0, -4), 3, stride=2, padding=1, count_include_pad=False
    ).unflatten(0, x.shape[:-3])


def build_pyramid(x: Tensor, n_scales: int) -> tuple[Tensor, ...]:
    """`scales` images (..., C, H, W), the finest first, each pooled from the one before."""
    levels = [x]
    for _ in range(n_scales - 1):
        levels.append(avg_pool_half(levels[-1]))
    return tuple(levels)


def build_condition_pyramid(condition: Condition, n_scales: int) -> tuple[Condition, ...]:
    """Of (B, T, C, H, W). Averages of labels are dense, but come from the ids at once."""
    if not isinstance(condition, SparseOneHot):
        return build_pyramid(condition, n_scales)
    return (
        (condition, *build_pyramid(condition.avg_pool_half(), n_scales - 1))
        if n_scales > 1
        else (condition,)
    )


def _init_layer(module: nn.Module, std: float) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, std)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, std)
        nn.init.zeros_(module.bias)


def init_weights(network: nn.Module) -> None:
    """N(0, 0.02) for convolutions, N(1, 0.02) for batch norms; biases of convolutions as PyTorch draws them."""
    network.apply(partial(_init_layer, std=0.02))
