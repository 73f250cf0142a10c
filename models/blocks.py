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

from models.fast.choice import as_here, is_laid_out, norms_fast, winograd_pays
from models.fast.heads import split_convolution
from models.fast.norms import normalised, normalised_apart, statistics
from models.fast.winograd import winograd
from models.labels import Condition, LabelConv2d, LabelMaps, LabelReflectionPad2d

NormKind = Literal["batch", "instance"]


class BatchNorm(nn.BatchNorm2d):
    """Affine batch norm that always uses the statistics of its input, in test too: published weights depend on it."""

    apart = False  # whether each sample has statistics of its own; running ones then stay as they are

    @property
    def counts(self) -> bool:
        """Whether running statistics follow the input's."""
        return self.training and not self.apart

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        return self._each_normalised(x) if self.apart and len(x) > 1 else self._normalised(x)

    def _each_normalised(self, x: Tensor) -> Tensor:
        if norms_fast(x):
            return normalised_apart(x, self.weight, self.bias, self.eps)
        return F.instance_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _normalised(self, x: Tensor) -> Tensor:
        if norms_fast(x):
            return self._exact(x)
        running = (self.running_mean, self.running_var) if self.counts else (None, None)
        return F.batch_norm(x, *running, self.weight, self.bias, True, self.momentum or 0.0, self.eps)

    def _exact(self, x: Tensor) -> Tensor:
        """The same of maps whose channels lie last."""
        mean, variance = statistics(x.detach())
        if self.counts and self.running_mean is not None and self.running_var is not None:
            count = x.numel() // x.shape[1]
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum or 0.0)
        return normalised(x, mean, variance, self.weight, self.bias, self.eps)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm without affine; its running statistics are kept, as in published files, but never used."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        running = (self.running_mean, self.running_var) if self.training else (None, None)
        return F.instance_norm(x, *running, None, None, True, self.momentum or 0.0, self.eps)


def norm(kind: NormKind, channels: int) -> nn.Module:
    return BatchNorm(channels) if kind == "batch" else InstanceNorm(channels)


class ReflectionPad2d(nn.ReflectionPad2d):
    """In the precision of x: for a CPU, autocast knows no padding in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


class Conv3x3(nn.Conv2d):
    """3x3 convolution of stride 1. kernels: its weight as `winograd` wants it, where nobody learns (`models.ready`)."""

    kernels: Tensor | None = None

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        if winograd_pays(x, self.weight):
            return winograd(x, self.weight, self.bias, kernels=self.kernels)
        return super().forward(x)


class HeadConv2d(nn.Conv2d):
    """7x7 convolution to few channels."""

    def forward(self, x: Tensor) -> Tensor:
        return split_convolution(x, self.weight, self.bias) if is_laid_out(x) else super().forward(x)


class ResnetBlock(nn.Module):
    """x + (pad, conv3, norm, relu, pad, conv3, norm)(x)."""

    def __init__(self, channels: int, kind: NormKind) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            ReflectionPad2d(1), Conv3x3(channels, channels), norm(kind, channels), nn.ReLU(inplace=True),
            ReflectionPad2d(1), Conv3x3(channels, channels), norm(kind, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def stem(channels: int, width: int, kind: NormKind) -> list[nn.Module]:
    """7x7 convolution at full size."""
    return [LabelReflectionPad2d(3), LabelConv2d(channels, width, 7), norm(kind, width), nn.ReLU(inplace=True)]


def down(channels: int, width: int, kind: NormKind) -> list[nn.Module]:
    """Halves height and width."""
    return [nn.Conv2d(channels, width, 3, stride=2, padding=1), norm(kind, width), nn.ReLU(inplace=True)]


def up(channels: int, width: int, kind: NormKind) -> list[nn.Module]:
    """Doubles height and width."""
    return [nn.ConvTranspose2d(channels, width, 3, stride=2, padding=1, output_padding=1), norm(kind, width),
            nn.ReLU(inplace=True)]


def blocks(count: int, channels: int, kind: NormKind) -> list[nn.Module]:
    return [ResnetBlock(channels, kind) for _ in range(count)]


def head(channels: int, outputs: int, activation: nn.Module | None) -> nn.Sequential:
    """7x7 convolution to the result."""
    layers = [ReflectionPad2d(3), HeadConv2d(channels, outputs, 7)]
    return nn.Sequential(*layers, activation) if activation else nn.Sequential(*layers)


@contextmanager
def _again(stage: nn.Module, as_before: AbstractContextManager) -> Iterator[None]:
    """Leaves running statistics as they are, and chooses `as_before`."""
    momenta = {part: part.momentum for part in stage.modules() if isinstance(part, BatchNorm | InstanceNorm)}
    try:
        for part in momenta:
            part.momentum = 0.0
        with as_before:
            yield
    finally:
        for part, momentum in momenta.items():
            part.momentum = momentum


@contextmanager
def apart(networks: nn.Module) -> Iterator[None]:
    """Batch norms give each sample of a batch the statistics that it would have alone, and count none."""
    norms = [part for part in networks.modules() if isinstance(part, BatchNorm)]
    try:
        for part in norms:
            part.apart = True
        yield
    finally:
        for part in norms:
            part.apart = False


def recomputed(stage: nn.Module, x: Condition) -> Tensor:
    """stage(x), whose inner activations are not kept but computed again on the way back, when norms have counted x
    already."""
    return checkpoint(stage, x, use_reentrant=False, preserve_rng_state=False,
                      context_fn=lambda: (nullcontext(), _again(stage, as_here())))


def pool(x: Tensor) -> Tensor:
    """Half the size: the one step of every pyramid (SPEC 6), border not counted. (..., H, W)."""
    return F.avg_pool2d(x.flatten(0, -4), 3, stride=2, padding=1, count_include_pad=False).unflatten(0, x.shape[:-3])


def pyramid(x: Tensor, scales: int) -> tuple[Tensor, ...]:
    """`scales` pictures (..., C, H, W), the finest first, each pooled from the one before."""
    levels = [x]
    for _ in range(scales - 1):
        levels.append(pool(levels[-1]))
    return tuple(levels)


def condition_pyramid(condition: Condition, scales: int) -> tuple[Condition, ...]:
    """Of (B, T, C, H, W). Averages of labels are dense, but come from the ids at once."""
    if not isinstance(condition, LabelMaps):
        return pyramid(condition, scales)
    return (condition, *pyramid(condition.pooled(), scales - 1)) if scales > 1 else (condition,)


def _init(module: nn.Module, spread: float) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, spread)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, spread)
        nn.init.zeros_(module.bias)


def init_weights(network: nn.Module) -> None:
    """N(0, 0.02) for convolutions, N(1, 0.02) for batch norms; biases of convolutions as PyTorch draws them."""
    network.apply(partial(_init, spread=0.02))
