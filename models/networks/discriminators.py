"""Multi-scale PatchGAN discriminators of images, of temporal groups and of faces (paper, section 3).

They are plain PyTorch. `models.ops.install` replaces their layers by faster ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.networks.blocks import NormKind, build_pyramid, init_weights, norm

_MAX_CHANNELS = 512
_MAX_BASE_CHANNELS = 64
# What `MultiScaleDiscriminator.precompute_condition` returns: the condition (N, C, H, W), or each scale's response of
# the first convolution to it.
ConditionInput = Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class TemporalConfig:
    """Settings of the temporal discriminators.

    Attributes:
        n_frames_D: Frames of a group, tD.
        n_scales: Number of temporal scales; scale s has a stride of tD**s.
        is_sparse: Whether groups do not overlap (`--sparse_D`).
    """

    n_frames_D: int = 3
    n_scales: int = 3
    is_sparse: bool = False


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Configuration of a discriminator.

    Attributes:
        width: Channels of the first layer at the coarsest scale's size; at most 64 are used.
        n_layers: Strided layers before the score, without the first.
        n_scales: Number of scales.
        norm: Kind of the norms.
        returns_features: Whether activations of all layers are returned, for feature matching. Changes the keys.
        spectral_norm: Whether convolutions have spectral normalization. Changes the keys.
    """

    width: int = 64
    n_layers: int = 3
    n_scales: int = 2
    norm: NormKind = "batch"
    returns_features: bool = True
    spectral_norm: bool = False


def build_patch_layers(
    in_channels: int, width: int, config: DiscriminatorConfig
) -> list[list[nn.Module]]:
    """Build a PatchGAN layer by layer.

    The first layer is strided and has no norm, the next ones are strided with norm, then one has stride 1 with norm.
    The last has a single channel, the score.
    """

    def conv(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 4, stride=stride, padding=2)

    layers: list[list[nn.Module]] = [[conv(in_channels, width, 2), nn.LeakyReLU(0.2, True)]]
    for n in range(1, config.n_layers + 1):
        next_width = min(2 * width, _MAX_CHANNELS)
        stride = 2 if n < config.n_layers else 1
        layers.append(
            [
                conv(width, next_width, stride),
                norm(config.norm, next_width),
                nn.LeakyReLU(0.2, True),
            ]
        )
        width = next_width
    return [*layers, [conv(width, 1, 1)]]


class MultiScaleDiscriminator(nn.Module):
    """PatchGANs on a pyramid of the input: `scale{n-1}` at full size, `scale0` on the most pooled."""

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
            for conv in [module for module in self.modules() if isinstance(module, nn.Conv2d)]:
                spectral_norm(conv)

    def get_layers(self, scale: int) -> list[nn.Sequential]:
        """Return the parts of a scale whose activations are returned."""
        names = [f"scale{scale}_layer{n}" for n in range(self.config.n_layers + 2)]
        if not self.config.returns_features:
            names = [f"layer{scale}"]
        return [self.get_submodule(name) for name in names]  # type: ignore[misc]

    def precompute_condition(self, condition: Tensor) -> ConditionInput:
        """Return what `forward` takes as the condition of several images: here, the condition (N, C, H, W) itself."""
        return condition

    def forward(self, x: Tensor, condition: ConditionInput | None = None) -> list[list[Tensor]]:
        """Score an input.

        Args:
            x: (N, C, H, W), all channels, or those that follow the condition's.
            condition: From `precompute_condition`.

        Returns:
            For each scale, the finest first, its activations; the last is the score (N, 1, h, w).
        """
        if isinstance(condition, Tensor):
            x = torch.cat([condition, x], dim=1)
        finest = self.config.n_scales - 1
        pyramid = build_pyramid(x, self.config.n_scales)
        return [self._run_scale(finest - i, level) for i, level in enumerate(pyramid)]

    def _run_scale(self, scale: int, x: Tensor) -> list[Tensor]:
        features = []
        for layer in self.get_layers(scale):
            x = layer(x)
            features.append(x)
        return features
