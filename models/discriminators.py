"""Multi-scale PatchGAN discriminators (SPEC 6): of pictures, of temporal groups, of faces."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.blocks import NormKind, init_weights, norm, pyramid
from models.fast.choice import is_laid_out, laid_out, winograd_pays
from models.fast.heads import folded_convolution
from models.fast.winograd import winograd

MAX_WIDTH = 512
MAX_BASE_WIDTH = 64


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

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight  # asked for once: with `spectral_norm` each time is a power iteration
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

    def _patch(self, scale: int, x: Tensor) -> list[Tensor]:
        if not self.config.keep_features:
            return [self.get_submodule(f"layer{scale}")(x)]
        features = [x]
        for n in range(self.config.n_layers + 2):
            features.append(self.get_submodule(f"scale{scale}_layer{n}")(features[-1]))
        return features[1:]

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """x: (N, C, H, W) -> for each scale, the finest first, its feature maps; the last is the (N, 1, h, w) score."""
        levels = pyramid(laid_out(x, self.config.width), self.config.n_scales)
        return [self._patch(self.config.n_scales - 1 - i, level) for i, level in enumerate(levels)]
