"""Layers, stages and pyramids that all networks are built from.

Stages are built as lists of layers, so that an `nn.Sequential` of them has the published state-dict keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextvars import ContextVar, copy_context
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.networks.labels import Condition, SparseOneHot

NormKind = Literal["batch", "instance"]

# Whether a stage of `checkpoint_stage` is computed for the second time. Norms have then counted its input already.
_is_recomputing: ContextVar[bool] = ContextVar("is_recomputing", default=False)


def running_stats_momentum(layer: nn.modules.batchnorm._NormBase) -> float:
    """Return the momentum of a norm's running statistics: 0 while activations are recomputed."""
    if not torch.compiler.is_compiling() and _is_recomputing.get():
        return 0.0
    return layer.momentum or 0.0


class BatchStatNorm2d(nn.BatchNorm2d):
    """Affine batch norm that always uses the statistics of its input.

    As published: test mode does not use the running statistics either. Published weights depend on it.

    Attributes:
        per_sample_stats: Whether each sample of a batch is normalized by its own statistics, as if it were alone.
            Running statistics are not updated then. See `use_per_sample_stats`.
    """

    per_sample_stats = False

    @property
    def updates_running_stats(self) -> bool:
        """Whether the running statistics follow those of the input."""
        return self.training and not self.per_sample_stats

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        self._check_input_dim(x)
        if self.per_sample_stats and len(x) > 1:
            return F.instance_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        mean, var = self.running_mean, self.running_var
        if not self.updates_running_stats:
            mean = var = None
        momentum = running_stats_momentum(self)
        return F.batch_norm(x, mean, var, self.weight, self.bias, True, momentum, self.eps)


class TrackedInstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm without affine parameters.

    As published: running statistics are updated and saved, but never used.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        self._check_input_dim(x)
        mean, var = self.running_mean, self.running_var
        if not self.training:
            mean = var = None
        return F.instance_norm(
            x, mean, var, None, None, True, running_stats_momentum(self), self.eps
        )


def use_per_sample_stats(network: nn.Module) -> None:
    """Make the batch norms of a network for inference treat each sample of a batch as if it were alone."""
    for module in network.modules():
        if isinstance(module, BatchStatNorm2d):
            module.per_sample_stats = True


class ReflectionPad2d(nn.ReflectionPad2d):
    """Reflection padding in the precision of its input.

    On a CPU, autocast would pad half precision in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad (N, C, H, W)."""
        if not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


class ResnetBlock(nn.Module):
    """Residual block: x + (pad, conv3x3, norm, ReLU, pad, conv3x3, norm)(x)."""

    def __init__(self, channels: int, norm_kind: NormKind) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            norm(norm_kind, channels),
            nn.ReLU(inplace=True),
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            norm(norm_kind, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual sum, of the size of x."""
        return x + self.conv_block(x)


def norm(norm_kind: NormKind, channels: int) -> nn.Module:
    """Build a normalization layer."""
    return BatchStatNorm2d(channels) if norm_kind == "batch" else TrackedInstanceNorm2d(channels)


def stem(in_channels: int, out_channels: int, norm_kind: NormKind) -> list[nn.Module]:
    """Build the first layers of a network: a 7x7 convolution at full size."""
    return [
        ReflectionPad2d(3),
        nn.Conv2d(in_channels, out_channels, 7),
        norm(norm_kind, out_channels),
        nn.ReLU(inplace=True),
    ]


def down(in_channels: int, out_channels: int, norm_kind: NormKind) -> list[nn.Module]:
    """Build layers that halve height and width."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1),
        norm(norm_kind, out_channels),
        nn.ReLU(inplace=True),
    ]


def up(in_channels: int, out_channels: int, norm_kind: NormKind) -> list[nn.Module]:
    """Build layers that double height and width."""
    return [
        nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1),
        norm(norm_kind, out_channels),
        nn.ReLU(inplace=True),
    ]


def blocks(count: int, channels: int, norm_kind: NormKind) -> list[nn.Module]:
    """Build consecutive residual blocks."""
    return [ResnetBlock(channels, norm_kind) for _ in range(count)]


def head(in_channels: int, out_channels: int, activation: nn.Module | None) -> nn.Sequential:
    """Build the last layers of a network: a 7x7 convolution to the output channels."""
    layers = [ReflectionPad2d(3), nn.Conv2d(in_channels, out_channels, 7)]
    return nn.Sequential(*layers, activation) if activation else nn.Sequential(*layers)


def channel_counts(width: int, n_downsample: int, max_channels: float = math.inf) -> list[int]:
    """Return the channels at full size and after each of n_downsample halvings: doubled each time, up to a limit."""
    return [int(min(width * 2**i, max_channels)) for i in range(n_downsample + 1)]


def down_layers(channels: Sequence[int], norm_kind: NormKind) -> list[nn.Module]:
    """Build a halving for each pair of neighbors in `channel_counts`."""
    layers: list[nn.Module] = []
    for in_channels, out_channels in pairwise(channels):
        layers += down(in_channels, out_channels, norm_kind)
    return layers


def up_layers(
    channels: Sequence[int], norm_kind: NormKind, n_extra_channels: int = 0
) -> list[nn.Module]:
    """Build the doublings that undo `down_layers`.

    Args:
        channels: As given to `down_layers`.
        norm_kind: Kind of the norms.
        n_extra_channels: Channels that are concatenated to the deepest feature maps.
    """
    layers: list[nn.Module] = []
    in_channels = channels[-1] + n_extra_channels
    for out_channels in reversed(channels[:-1]):
        layers += up(in_channels, out_channels, norm_kind)
        in_channels = out_channels
    return layers


def checkpoint_stage(stage: nn.Module, x: Condition) -> Tensor:
    """Return stage(x), whose inner activations are recomputed in the backward pass instead of being kept.

    Recomputation sees the context variables of the forward pass, by which `models.ops` chooses the operations. Running
    statistics of norms are updated once.
    """
    context = copy_context()
    y = checkpoint(partial(context.run, stage), x, use_reentrant=False, preserve_rng_state=False)
    context.run(_is_recomputing.set, True)  # the context is used again only in the backward pass
    return y


def avg_pool_half(x: Tensor) -> Tensor:
    """Halve the size of (..., C, H, W) by average pooling, the one step of every pyramid.

    As published: 3x3 windows of stride 2, in which pixels beyond the border do not count.
    """
    pooled = F.avg_pool2d(x.flatten(0, -4), 3, stride=2, padding=1, count_include_pad=False)
    return pooled.unflatten(0, x.shape[:-3])


def build_pyramid(x: Tensor, n_scales: int) -> tuple[Tensor, ...]:
    """Return n_scales versions of (..., C, H, W), the finest first, each pooled from the one before."""
    pyramid = [x]
    for _ in range(n_scales - 1):
        pyramid.append(avg_pool_half(pyramid[-1]))
    return tuple(pyramid)


def build_condition_pyramid(condition: Condition, n_scales: int) -> tuple[Condition, ...]:
    """Return `build_pyramid` of a condition (B, T, C, H, W).

    Averages of label maps are dense. They are computed from the ids, without a one-hot tensor of the finest scale.
    """
    if not isinstance(condition, SparseOneHot):
        return build_pyramid(condition, n_scales)
    if n_scales == 1:
        return (condition,)
    return (condition, *build_pyramid(condition.avg_pool_half(), n_scales - 1))


def _init_layer(module: nn.Module, std: float) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, std)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, std)
        nn.init.zeros_(module.bias)


def init_weights(network: nn.Module) -> None:
    """Initialize weights in place: N(0, 0.02) for convolutions, N(1, 0.02) for batch norms.

    Biases of convolutions keep PyTorch's initialization.
    """
    network.apply(partial(_init_layer, std=0.02))
