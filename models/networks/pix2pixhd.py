"""Single-image networks: an image from the condition of one frame alone (SPEC 6 and 12).

`global` paints at once, `local` refines a global network's features, and both exist with features: maps that say how
each region is to look, which an encoder reads off a real image. Attribute names are the published state-dict keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models.networks.blocks import (
    NormKind,
    blocks,
    build_pyramid,
    channel_counts,
    down,
    down_layers,
    head,
    init_weights,
    stem,
    up,
    up_layers,
)
from models.networks.region_pooling import average_regions

SingleImageKind = Literal["global", "local", "global_with_features", "local_with_features"]
SINGLE_IMAGE_KINDS: tuple[SingleImageKind, ...] = get_args(SingleImageKind)
_MAX_CHANNELS = 1024  # of global networks, however often they halve


@dataclass(frozen=True)
class SingleImageConfig:
    """width: of the first layer at full size; the global part of a local network begins twice as wide for each of its
    enhancers. n_features: channels of the feature maps, 0 for networks without."""

    kind: SingleImageKind
    condition_channels: int
    n_features: int = 0
    width: int = 64
    n_downsample: int = 3
    n_blocks: int = 9
    n_blocks_local: int = 3
    n_enhancers: int = 1
    norm: NormKind = "instance"
    image_channels: int = 3

    def __post_init__(self) -> None:
        assert (self.n_features > 0) == self.kind.endswith("with_features")

    @property
    def is_local(self) -> bool:
        return self.kind.startswith("local")

    @property
    def size_multiple(self) -> int:
        """What height and width must divide by."""
        return 2 ** (self.n_downsample + (self.n_enhancers if self.is_local else 0))


@dataclass(frozen=True)
class EncoderConfig:
    """width: of the first layer, doubled by each of n_downsample."""

    n_features: int = 16
    width: int = 16
    n_downsample: int = 4
    norm: NormKind = "instance"

    @property
    def size_multiple(self) -> int:
        return int(2**self.n_downsample)


def _global_trunk_layers(config: SingleImageConfig) -> list[nn.Module]:
    """A global network up to its last feature map."""
    widths = channel_counts(config.width, config.n_downsample, _MAX_CHANNELS)
    return [
        *stem(config.condition_channels, widths[0], config.norm),
        *down_layers(widths, config.norm),
        *blocks(config.n_blocks, widths[-1], config.norm),
        *up_layers(widths, config.norm),
    ]


def _concatenate_channels(*maps: Tensor) -> Tensor:
    return torch.cat(maps, dim=1)


class GlobalGenerator(nn.Module):
    """7x7, downs, residual blocks, ups, 7x7."""

    def __init__(self, config: SingleImageConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Sequential(
            *_global_trunk_layers(config), *head(config.width, config.image_channels, nn.Tanh())
        )

    def forward(self, condition: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, H, W) in [-1, 1]."""
        return self.model(condition)


class LocalEnhancerBase(nn.Module):
    """The part that makes a network local: enhancer n works at width `config.width * 2**(n_enhancers - n)`."""

    config: SingleImageConfig

    def add_enhancers(self, outputs_image: bool) -> None:
        """to_image: the last one ends in the image, not in its feature map."""
        config, kind = self.config, self.config.norm
        for n in range(1, config.n_enhancers + 1):
            last = n == config.n_enhancers
            width = config.width * 2 ** (config.n_enhancers - n)
            channels = config.condition_channels + (config.n_features if last else 0)
            inner = 2 * width + (config.n_features if n == 1 else 0)
            image: Iterable[nn.Module] = (
                head(width, config.image_channels, nn.Tanh()) if last and outputs_image else ()
            )
            self.add_module(
                f"model{n}_1",
                nn.Sequential(*stem(channels, width, kind), *down(width, 2 * width, kind)),
            )
            self.add_module(
                f"model{n}_2",
                nn.Sequential(
                    *blocks(config.n_blocks_local, inner, kind), *up(inner, width, kind), *image
                ),
            )

    def global_config(self) -> SingleImageConfig:
        """Of the global part."""
        return replace(self.config, width=self.config.width * 2**self.config.n_enhancers)

    def enhance(
        self,
        coarse_features: Tensor,
        conditions: tuple[Tensor, ...],
        instance_features: Tensor | None = None,
    ) -> Tensor:
        """below: the global part's features. conditions: a pyramid, the finest first; small: feature maps that the
        first enhancer sees beside the sum."""
        for n, condition in enumerate(reversed(conditions), start=1):
            total = self.get_submodule(f"model{n}_1")(condition) + coarse_features
            seen = (
                _concatenate_channels(total, instance_features)
                if n == 1 and instance_features is not None
                else total
            )
            coarse_features = self.get_submodule(f"model{n}_2")(seen)
        return coarse_features


class LocalEnhancer(LocalEnhancerBase):
    """A global network on the pooled condition, then enhancers, each at twice the size of the one before."""

    def __init__(self, config: SingleImageConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Sequential(*_global_trunk_layers(self.global_config()))
        self.add_enhancers(outputs_image=True)

    def forward(self, condition: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, H, W) in [-1, 1]."""
        *fine, coarsest = build_pyramid(condition, self.config.n_enhancers + 1)
        return self.enhance(self.model(coarsest), tuple(fine))


class GlobalTrunkWithFeatures(nn.Module):
    """A global network that sees feature maps at its entrance and around its residual blocks."""

    config: SingleImageConfig

    def add_trunk(self, width: int) -> None:
        config, kind = self.config, self.config.norm
        widths = channel_counts(width, config.n_downsample, _MAX_CHANNELS)
        self.model_downsample = nn.Sequential(
            *stem(config.condition_channels + config.n_features, widths[0], kind),
            *down_layers(widths, kind),
        )
        self.model_resnet = nn.Sequential(
            *blocks(config.n_blocks, widths[-1] + config.n_features, kind)
        )
        self.model_upsample = nn.Sequential(
            *up_layers(widths, kind, n_extra_channels=2 * config.n_features)
        )

    def run_trunk(self, condition: Tensor, features: Tensor) -> Tensor:
        small = build_pyramid(features, self.config.n_downsample + 1)[-1]
        deep = self.model_resnet(
            _concatenate_channels(
                self.model_downsample(_concatenate_channels(condition, features)), small
            )
        )
        return self.model_upsample(_concatenate_channels(deep, small))


class GlobalGeneratorWithFeatures(GlobalTrunkWithFeatures):
    def __init__(self, config: SingleImageConfig) -> None:
        super().__init__()
        self.config = config
        self.add_trunk(config.width)
        self.model_upsample_conv = head(
            config.width + config.n_features, config.image_channels, nn.Tanh()
        )

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        """(B, C, H, W), (B, n_features, H, W) -> (B, 3, H, W) in [-1, 1]."""
        return self.model_upsample_conv(
            _concatenate_channels(self.run_trunk(condition, features), features)
        )


class LocalEnhancerWithFeatures(GlobalTrunkWithFeatures, LocalEnhancerBase):
    def __init__(self, config: SingleImageConfig) -> None:
        super().__init__()
        self.config = config
        self.add_trunk(self.global_config().width)
        self.add_enhancers(outputs_image=False)
        self.model_final = head(config.width + config.n_features, config.image_channels, nn.Tanh())

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        """(B, C, H, W), (B, n_features, H, W) -> (B, 3, H, W) in [-1, 1]."""
        finest, *coarser = build_pyramid(condition, self.config.n_enhancers + 1)
        small = build_pyramid(features, self.config.n_enhancers + 1)[-1]
        conditions = (_concatenate_channels(finest, features), *coarser[:-1])
        return self.model_final(
            _concatenate_channels(
                self.enhance(self.run_trunk(coarser[-1], small), conditions, small), features
            )
        )


class Encoder(nn.Module):
    """How each region of an image looks: an hourglass whose answer is averaged over every region."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = channel_counts(config.width, config.n_downsample)
        self.model = nn.Sequential(
            *stem(3, widths[0], config.norm),
            *down_layers(widths, config.norm),
            *up_layers(widths, config.norm),
            *head(widths[0], config.n_features, nn.Tanh()),
        )
        init_weights(self)

    def forward(self, image: Tensor, regions: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], (B, 1, H, W) integer ids -> (B, n_features, H, W), one value in each region."""
        return average_regions(self.model(image), regions)


def build_single_image_generator(config: SingleImageConfig) -> nn.Module:
    """Called with the condition and, in kinds with features, the feature maps."""
    networks = {
        "global": GlobalGenerator,
        "local": LocalEnhancer,
        "global_with_features": GlobalGeneratorWithFeatures,
        "local_with_features": LocalEnhancerWithFeatures,
    }
    network = networks[config.kind](config)
    init_weights(network)
    return network
