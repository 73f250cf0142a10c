"""Multi-scale PatchGAN discriminators (SPEC 6): of pictures, of temporal groups, of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.blocks import NormKind, init_weights, norm, pyramid
from models.fast.choice import is_laid_out, laid_out, winograd_pays
from models.fast.heads import folded_convolution
from models.fast.winograd import winograd

MAX_WIDTH = 512
MAX_BASE_WIDTH = 64
Beside = Tensor | Sequence[Tensor]  # a condition (N, C, H, W), or what each scale's first convolution makes of it


@dataclass(frozen=True)
class DiscriminatorConfig:
    """keep_features: whether the layers' activations come out too (feature matching), which also names the keys.
    spectral_norm: bounds every convolution's gain, under other keys than published discriminators have."""

    width: int = 64
    n_layers: int = 3
    n_scales: int = 2
    norm: NormKind = "batch"
    keep_features: bool = True
    spectral_norm: bool = False


class PatchConv2d(nn.Conv2d):
    """4x4 convolution; to one channel, the score, of stride 1."""

    def of_first(self, x: Tensor) -> Tensor:
        """What the first channels of an input add to the result, the bias too."""
        return self._conv_forward(x, self.weight[:, :x.shape[1]], self.bias)

    def forward(self, x: Tensor, of_first: Tensor | None = None) -> Tensor:
        """of_first: of the channels before those of x, where they are not among them."""
        weight = self.weight  # asked for once: with `spectral_norm` each time is a power iteration
        if of_first is not None:
            return of_first + self._conv_forward(x, weight[:, -x.shape[1]:], None)
        if len(weight) == 1 and is_laid_out(x):
            return folded_convolution(x, weight, self.bias, padding=2)
        if self.stride == (1, 1) and winograd_pays(x, weight):
            return winograd(x, weight, self.bias, padding=2)
        return self._conv_forward(x, weight, self.bias)


def patch_layers(channels: int, width: int, config: DiscriminatorConfig) -> list[list[nn.Module]]:
    """Layer by layer: strided without norm, strided with, one stride-1 with, one to a single channel."""
    def conv(inputs: int, outputs: int, stride: int) -> nn.Module:
        return PatchConv2d(inputs, outputs, 4, stride=stride, padding=2)

    layers: list[list[nn.Module]] = [[conv(channels, width, 2), nn.LeakyReLU(0.2, True)]]
    for n in range(1, config.n_layers + 1):
        wider = min(2 * width, MAX_WIDTH)
        stride = 2 if n < config.n_layers else 1
        layers.append([conv(width, wider, stride), norm(config.norm, wider), nn.LeakyReLU(0.2, True)])
        width = wider
    return [*layers, [conv(width, 1, 1)]]


class MultiScaleDiscriminator(nn.Module):
    """`scale{n-1}` sees its input at full size, `scale0` the most pooled."""

    def __init__(self, channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        for scale in range(config.n_scales):
            width = min(MAX_BASE_WIDTH, config.width * 2 ** (config.n_scales - 1 - scale))
            layers = patch_layers(channels, width, config)
            if not config.keep_features:
                self.add_module(f"layer{scale}", nn.Sequential(*sum(layers, [])))
                continue
            for n, layer in enumerate(layers):
                self.add_module(f"scale{scale}_layer{n}", nn.Sequential(*layer))
        init_weights(self)
        if config.spectral_norm:
            for convolution in [part for part in self.modules() if isinstance(part, nn.Conv2d)]:
                spectral_norm(convolution)

    def _layers(self, scale: int) -> list[nn.Sequential]:
        if not self.config.keep_features:
            return [self.get_submodule(f"layer{scale}")]  # type: ignore[list-item]
        return [self.get_submodule(f"scale{scale}_layer{n}")  # type: ignore[misc]
                for n in range(self.config.n_layers + 2)]

    def _first(self, scale: int) -> PatchConv2d:
        convolution = self._layers(scale)[0][0]
        assert isinstance(convolution, PatchConv2d)
        return convolution

    def _patch(self, scale: int, x: Tensor, of_first: Tensor | None) -> list[Tensor]:
        first, *others = self._layers(scale)
        features = [first[1:](self._first(scale)(x, of_first))]
        for layer in others:
            features.append(layer(features[-1]))
        return features

    def beside(self, condition: Tensor) -> Beside:
        """(N, C, H, W), for `forward` with several pictures. Where fast ways pay it is convolved once for all of them;
        not with `spectral_norm`, by which each pass has weights of its own."""
        x = laid_out(condition, self.config.width)
        if self.config.spectral_norm or not is_laid_out(x):
            return condition
        levels = enumerate(pyramid(x, self.config.n_scales), 1)
        return [self._first(self.config.n_scales - i).of_first(level) for i, level in levels]

    def forward(self, x: Tensor, beside: Beside | None = None) -> list[list[Tensor]]:
        """x: (N, C, H, W), all channels or those after `beside` -> for each scale, the finest first, its feature maps;
        the last is the (N, 1, h, w) score."""
        if isinstance(beside, Tensor):
            x, beside = torch.cat([beside, x], dim=1), None
        levels = pyramid(laid_out(x, self.config.width), self.config.n_scales)
        of_first: Sequence[Tensor | None] = [None] * len(levels) if beside is None else beside
        pairs = zip(levels, of_first, strict=True)
        return [self._patch(self.config.n_scales - i, *pair) for i, pair in enumerate(pairs, 1)]
