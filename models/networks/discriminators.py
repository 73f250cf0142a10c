"""Multi-scale PatchGAN discriminators (SPEC 6): of images, of temporal groups, of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.networks.blocks import NormKind, build_pyramid, init_weights, norm
from models.ops.conv_few_outputs import conv2d_by_kernel_taps
from models.ops.dispatch import should_use_winograd, to_channels_last, uses_channels_last_ops
from models.ops.winograd import winograd_conv2d

_MAX_CHANNELS = 512
_MAX_BASE_CHANNELS = 64
ConditionInput = (
    Tensor | Sequence[Tensor]
)  # a condition (N, C, H, W), or what each scale's first convolution makes of it


@dataclass(frozen=True)
class DiscriminatorConfig:
    """keep_features: whether the layers' activations come out too (feature matching), which also names the keys.
    spectral_norm: bounds every convolution's gain, under other keys than published discriminators have."""

    width: int = 64
    n_layers: int = 3
    n_scales: int = 2
    norm: NormKind = "batch"
    returns_features: bool = True
    spectral_norm: bool = False


class PatchConv2d(nn.Conv2d):
    """4x4 convolution; to one channel, the score, of stride 1."""

    def condition_response(self, condition: Tensor) -> Tensor:
        """What the first channels of an input add to the result, the bias too."""
        return self._conv_forward(condition, self.weight[:, : condition.shape[1]], self.bias)

    def forward(self, x: Tensor, condition_response: Tensor | None = None) -> Tensor:
        """of_first: of the channels before those of x, where they are not among them."""
        weight = self.weight  # asked for once: with `spectral_norm` each time is a power iteration
        if condition_response is not None:
            return condition_response + self._conv_forward(x, weight[:, -x.shape[1] :], None)
        if len(weight) == 1 and uses_channels_last_ops(x):
            return conv2d_by_kernel_taps(x, weight, self.bias, padding=2)
        if self.stride == (1, 1) and should_use_winograd(x, weight):
            return winograd_conv2d(x, weight, self.bias, padding=2)
        return self._conv_forward(x, weight, self.bias)


def build_patch_layers(
    in_channels: int, width: int, config: DiscriminatorConfig
) -> list[list[nn.Module]]:
    """Layer by layer: strided without norm, strided with, one stride-1 with, one to a single channel."""

    def conv(inputs: int, outputs: int, stride: int) -> nn.Module:
        return PatchConv2d(inputs, outputs, 4, stride=stride, padding=2)

    layers: list[list[nn.Module]] = [[conv(in_channels, width, 2), nn.LeakyReLU(0.2, True)]]
    for n in range(1, config.n_layers + 1):
        wider = min(2 * width, _MAX_CHANNELS)
        stride = 2 if n < config.n_layers else 1
        layers.append(
            [conv(width, wider, stride), norm(config.norm, wider), nn.LeakyReLU(0.2, True)]
        )
        width = wider
    return [*layers, [conv(width, 1, 1)]]


class MultiScaleDiscriminator(nn.Module):
    """`scale{n-1}` sees its input at full size, `scale0` the most pooled."""

    def __init__(self, in_channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        for scale in range(config.n_scales):
            width = min(_MAX_BASE_CHANNELS, config.width * 2 ** (config.n_scales - 1 - scale))
            layers = build_patch_layers(in_channels, width, config)
            if not config.returns_features:
                self.add_module(f"layer{scale}", nn.Sequential(*sum(layers, [])))
                continue
            for n, layer in enumerate(layers):
                self.add_module(f"scale{scale}_layer{n}", nn.Sequential(*layer))
        init_weights(self)
        if config.spectral_norm:
            for convolution in [part for part in self.modules() if isinstance(part, nn.Conv2d)]:
                spectral_norm(convolution)

    def _get_layers(self, scale: int) -> list[nn.Sequential]:
        if not self.config.returns_features:
            return [self.get_submodule(f"layer{scale}")]  # type: ignore[list-item]
        return [
            self.get_submodule(f"scale{scale}_layer{n}")  # type: ignore[misc]
            for n in range(self.config.n_layers + 2)
        ]

    def _first_conv(self, scale: int) -> PatchConv2d:
        convolution = self._get_layers(scale)[0][0]
        assert isinstance(convolution, PatchConv2d)
        return convolution

    def _run_scale(self, scale: int, x: Tensor, condition_response: Tensor | None) -> list[Tensor]:
        first, *others = self._get_layers(scale)
        features = [first[1:](self._first_conv(scale)(x, condition_response))]
        for layer in others:
            features.append(layer(features[-1]))
        return features

    def precompute_condition(self, condition: Tensor) -> ConditionInput:
        """(N, C, H, W), for `forward` with several images. Where fast ways pay it is convolved once for all of them;
        not with `spectral_norm`, by which each pass has weights of its own."""
        x = to_channels_last(condition, self.config.width)
        if self.config.spectral_norm or not uses_channels_last_ops(x):
            return condition
        levels = enumerate(build_pyramid(x, self.config.n_scales), 1)
        return [
            self._first_conv(self.config.n_scales - i).condition_response(level)
            for i, level in levels
        ]

    def forward(self, x: Tensor, condition: ConditionInput | None = None) -> list[list[Tensor]]:
        """x: (N, C, H, W), all channels or those after `beside` -> for each scale, the finest first, its feature maps;
        the last is the (N, 1, h, w) score."""
        if isinstance(condition, Tensor):
            x, condition = torch.cat([condition, x], dim=1), None
        levels = build_pyramid(to_channels_last(x, self.config.width), self.config.n_scales)
        of_first: Sequence[Tensor | None] = [None] * len(levels) if condition is None else condition
        pairs = zip(levels, of_first, strict=True)
        return [self._run_scale(self.config.n_scales - i, *pair) for i, pair in enumerate(pairs, 1)]
