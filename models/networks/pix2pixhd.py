"""Single-image networks (pix2pixHD): an image from the condition of one frame alone.

`global` is a single network, `local` refines the feature maps of a global network. Both exist with instance features:
maps of the appearance of each region, which an encoder computes from a real image. Attribute names are the published
state-dict keys.
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
_MAX_CHANNELS = 1024  # in global networks


@dataclass(frozen=True)
class SingleImageConfig:
    """Configuration of a single-image generator.

    Attributes:
        kind: Kind of the network.
        condition_channels: Channels of the condition.
        n_features: Channels of the instance feature maps; 0 for kinds without.
        width: Channels of the first layer at full size. The global part of a local network is twice as wide for each
            enhancer.
        n_downsample: Halvings in the global part.
        n_blocks: Residual blocks in the global part.
        n_blocks_local: Residual blocks of each enhancer.
        n_enhancers: Enhancers of local networks.
        norm: Kind of the norms.
        image_channels: Channels of an image.
    """

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
        """Whether enhancers follow the global part."""
        return self.kind.startswith("local")

    @property
    def size_multiple(self) -> int:
        """Number that height and width must be divisible by."""
        return 2 ** (self.n_downsample + (self.n_enhancers if self.is_local else 0))


@dataclass(frozen=True)
class EncoderConfig:
    """Configuration of the encoder of instance features.

    Attributes:
        n_features: Channels of the output.
        width: Channels of the first layer, doubled by each halving.
        n_downsample: Halvings.
        norm: Kind of the norms.
    """

    n_features: int = 16
    width: int = 16
    n_downsample: int = 4
    norm: NormKind = "instance"

    @property
    def size_multiple(self) -> int:
        """Number that height and width must be divisible by."""
        return int(2**self.n_downsample)


def _global_trunk_layers(config: SingleImageConfig) -> list[nn.Module]:
    """Build the layers of a global network up to its last feature map."""
    channels = channel_counts(config.width, config.n_downsample, _MAX_CHANNELS)
    return [
        *stem(config.condition_channels, channels[0], config.norm),
        *down_layers(channels, config.norm),
        *blocks(config.n_blocks, channels[-1], config.norm),
        *up_layers(channels, config.norm),
    ]


def _concatenate_channels(*maps: Tensor) -> Tensor:
    return torch.cat(maps, dim=1)


class GlobalGenerator(nn.Module):
    """7x7 convolution, halvings, residual blocks, doublings, 7x7 convolution."""

    def __init__(self, config: SingleImageConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Sequential(
            *_global_trunk_layers(config), *head(config.width, config.image_channels, nn.Tanh())
        )

    def forward(self, condition: Tensor) -> Tensor:
        """Generate images (B, 3, H, W) in [-1, 1] from conditions (B, C, H, W)."""
        return self.model(condition)


class LocalEnhancerBase(nn.Module):
    """The enhancers of a local network: the width of enhancer n is `config.width * 2**(n_enhancers - n)`."""

    config: SingleImageConfig

    def add_enhancers(self, outputs_image: bool) -> None:
        """Add the enhancers. With outputs_image the last one ends with the image, else with a feature map."""
        config, kind = self.config, self.config.norm
        for n in range(1, config.n_enhancers + 1):
            is_last = n == config.n_enhancers
            width = config.width * 2 ** (config.n_enhancers - n)
            channels = config.condition_channels + (config.n_features if is_last else 0)
            inner = 2 * width + (config.n_features if n == 1 else 0)
            image_head: Iterable[nn.Module] = ()
            if is_last and outputs_image:
                image_head = head(width, config.image_channels, nn.Tanh())
            self.add_module(
                f"model{n}_1",
                nn.Sequential(*stem(channels, width, kind), *down(width, 2 * width, kind)),
            )
            self.add_module(
                f"model{n}_2",
                nn.Sequential(
                    *blocks(config.n_blocks_local, inner, kind),
                    *up(inner, width, kind),
                    *image_head,
                ),
            )

    def global_config(self) -> SingleImageConfig:
        """Return the configuration of the global part."""
        return replace(self.config, width=self.config.width * 2**self.config.n_enhancers)

    def enhance(
        self,
        coarse_features: Tensor,
        conditions: tuple[Tensor, ...],
        instance_features: Tensor | None = None,
    ) -> Tensor:
        """Run the enhancers.

        Args:
            coarse_features: Last feature maps of the global part.
            conditions: Conditions of all enhancers, the finest first.
            instance_features: Feature maps that are concatenated to the first enhancer's own.
        """
        for n, condition in enumerate(reversed(conditions), start=1):
            total = self.get_submodule(f"model{n}_1")(condition) + coarse_features
            if n == 1 and instance_features is not None:
                total = _concatenate_channels(total, instance_features)
            coarse_features = self.get_submodule(f"model{n}_2")(total)
        return coarse_features


class LocalEnhancer(LocalEnhancerBase):
    """A global network on the pooled condition, then enhancers, each at twice the size of the previous one."""

    def __init__(self, config: SingleImageConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Sequential(*_global_trunk_layers(self.global_config()))
        self.add_enhancers(outputs_image=True)

    def forward(self, condition: Tensor) -> Tensor:
        """Generate images (B, 3, H, W) in [-1, 1] from conditions (B, C, H, W)."""
        *fine, coarsest = build_pyramid(condition, self.config.n_enhancers + 1)
        return self.enhance(self.model(coarsest), tuple(fine))


class GlobalTrunkWithFeatures(nn.Module):
    """A global network with instance feature maps in its input, and before and after its residual blocks."""

    config: SingleImageConfig

    def add_trunk(self, width: int) -> None:
        """Add the layers up to the last feature map; width is that of the first one."""
        config, kind = self.config, self.config.norm
        channels = channel_counts(width, config.n_downsample, _MAX_CHANNELS)
        self.model_downsample = nn.Sequential(
            *stem(config.condition_channels + config.n_features, channels[0], kind),
            *down_layers(channels, kind),
        )
        self.model_resnet = nn.Sequential(
            *blocks(config.n_blocks, channels[-1] + config.n_features, kind)
        )
        self.model_upsample = nn.Sequential(
            *up_layers(channels, kind, n_extra_channels=2 * config.n_features)
        )

    def run_trunk(self, condition: Tensor, features: Tensor) -> Tensor:
        """Return the last feature maps for conditions (B, C, H, W) and instance features (B, n_features, H, W)."""
        pooled_features = build_pyramid(features, self.config.n_downsample + 1)[-1]
        x = self.model_downsample(_concatenate_channels(condition, features))
        x = self.model_resnet(_concatenate_channels(x, pooled_features))
        return self.model_upsample(_concatenate_channels(x, pooled_features))


class GlobalGeneratorWithFeatures(GlobalTrunkWithFeatures):
    """A global network with instance features."""

    def __init__(self, config: SingleImageConfig) -> None:
        super().__init__()
        self.config = config
        self.add_trunk(config.width)
        self.model_upsample_conv = head(
            config.width + config.n_features, config.image_channels, nn.Tanh()
        )

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        """Generate images (B, 3, H, W) in [-1, 1] from (B, C, H, W) and instance features (B, n_features, H, W)."""
        x = self.run_trunk(condition, features)
        return self.model_upsample_conv(_concatenate_channels(x, features))


class LocalEnhancerWithFeatures(GlobalTrunkWithFeatures, LocalEnhancerBase):
    """A local network with instance features."""

    def __init__(self, config: SingleImageConfig) -> None:
        super().__init__()
        self.config = config
        self.add_trunk(self.global_config().width)
        self.add_enhancers(outputs_image=False)
        self.model_final = head(config.width + config.n_features, config.image_channels, nn.Tanh())

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        """Generate images (B, 3, H, W) in [-1, 1] from (B, C, H, W) and instance features (B, n_features, H, W)."""
        finest, *coarser = build_pyramid(condition, self.config.n_enhancers + 1)
        pooled_features = build_pyramid(features, self.config.n_enhancers + 1)[-1]
        conditions = (_concatenate_channels(finest, features), *coarser[:-1])
        x = self.run_trunk(coarser[-1], pooled_features)
        x = self.enhance(x, conditions, pooled_features)
        return self.model_final(_concatenate_channels(x, features))


class Encoder(nn.Module):
    """Encoder of instance features: an hourglass whose output is averaged over each region of an image."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        channels = channel_counts(config.width, config.n_downsample)
        self.model = nn.Sequential(
            *stem(3, channels[0], config.norm),
            *down_layers(channels, config.norm),
            *up_layers(channels, config.norm),
            *head(channels[0], config.n_features, nn.Tanh()),
        )
        init_weights(self)

    def forward(self, image: Tensor, regions: Tensor) -> Tensor:
        """Encode images.

        Args:
            image: (B, 3, H, W) in [-1, 1].
            regions: Integer region ids (B, 1, H, W).

        Returns:
            (B, n_features, H, W), constant in each region.
        """
        return average_regions(self.model(image), regions)


def build_single_image_generator(config: SingleImageConfig) -> nn.Module:
    """Build a generator with random weights. Kinds with features take the condition and the feature maps."""
    networks = {
        "global": GlobalGenerator,
        "local": LocalEnhancer,
        "global_with_features": GlobalGeneratorWithFeatures,
        "local_with_features": LocalEnhancerWithFeatures,
    }
    network = networks[config.kind](config)
    init_weights(network)
    return network
