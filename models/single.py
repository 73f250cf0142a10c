"""Single-image networks: a picture from the condition of one frame alone (SPEC 6 and 12).

`global` paints at once, `local` refines a global network's features, and both exist with features: maps that say how
each region is to look, which an encoder reads off a real picture. Attribute names are the published state-dict keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models.blocks import NormKind, blocks, down, head, init_weights, pyramid, stem, up
from models.regions import region_means

SingleKind = Literal["global", "local", "global_with_features", "local_with_features"]
KINDS: tuple[SingleKind, ...] = get_args(SingleKind)
MAX_WIDTH = 1024  # of global networks, however often they halve


@dataclass(frozen=True)
class SingleConfig:
    """width: of the first layer at full size; the global part of a local network begins twice as wide for each of its
    enhancers. n_features: channels of the feature maps, 0 for networks without."""

    kind: SingleKind
    condition_channels: int
    n_features: int = 0
    width: int = 64
    n_downsample: int = 3
    n_blocks: int = 9
    n_blocks_local: int = 3
    n_enhancers: int = 1
    norm: NormKind = "instance"
    picture_channels: int = 3

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


def _widths(width: int, n_downsample: int, widest: float = MAX_WIDTH) -> list[int]:
    """Before the first halving, after it, after the second, ..."""
    return [int(min(width * 2**i, widest)) for i in range(n_downsample + 1)]


def _downs(widths: list[int], kind: NormKind) -> list[nn.Module]:
    return [layer for wide, wider in pairwise(widths) for layer in down(wide, wider, kind)]


def _ups(widths: list[int], kind: NormKind, joined: int = 0) -> list[nn.Module]:
    """joined: channels that come in beside the deepest ones."""
    inputs = [widths[-1] + joined, *reversed(widths[1:-1])]
    return [layer for wide, narrow in zip(inputs, reversed(widths[:-1]), strict=True)
            for layer in up(wide, narrow, kind)]


def _trunk(config: SingleConfig) -> list[nn.Module]:
    """A global network up to its last feature map."""
    widths = _widths(config.width, config.n_downsample)
    return [*stem(config.condition_channels, widths[0], config.norm), *_downs(widths, config.norm),
            *blocks(config.n_blocks, widths[-1], config.norm), *_ups(widths, config.norm)]


def _join(*maps: Tensor) -> Tensor:
    return torch.cat(maps, dim=1)


class GlobalGenerator(nn.Module):
    """7x7, downs, residual blocks, ups, 7x7."""

    def __init__(self, config: SingleConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Sequential(*_trunk(config), *head(config.width, config.picture_channels, nn.Tanh()))

    def forward(self, condition: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, H, W) in [-1, 1]."""
        return self.model(condition)


class Enhancers(nn.Module):
    """The part that makes a network local: enhancer n works at width `config.width * 2**(n_enhancers - n)`."""

    config: SingleConfig

    def add_enhancers(self, to_picture: bool) -> None:
        """to_picture: the last one ends in the picture, not in its feature map."""
        config, kind = self.config, self.config.norm
        for n in range(1, config.n_enhancers + 1):
            last = n == config.n_enhancers
            width = config.width * 2 ** (config.n_enhancers - n)
            channels = config.condition_channels + (config.n_features if last else 0)
            inner = 2 * width + (config.n_features if n == 1 else 0)
            picture: Iterable[nn.Module] = (
                head(width, config.picture_channels, nn.Tanh()) if last and to_picture else ())
            self.add_module(f"model{n}_1", nn.Sequential(*stem(channels, width, kind), *down(width, 2 * width, kind)))
            self.add_module(f"model{n}_2", nn.Sequential(*blocks(config.n_blocks_local, inner, kind),
                                                         *up(inner, width, kind), *picture))

    def global_config(self) -> SingleConfig:
        """Of the global part."""
        return replace(self.config, width=self.config.width * 2**self.config.n_enhancers)

    def enhance(self, below: Tensor, conditions: tuple[Tensor, ...], small: Tensor | None = None) -> Tensor:
        """below: the global part's features. conditions: a pyramid, the finest first; small: feature maps that the
        first enhancer sees beside the sum."""
        for n, condition in enumerate(reversed(conditions), start=1):
            total = self.get_submodule(f"model{n}_1")(condition) + below
            seen = _join(total, small) if n == 1 and small is not None else total
            below = self.get_submodule(f"model{n}_2")(seen)
        return below


class LocalGenerator(Enhancers):
    """A global network on the pooled condition, then enhancers, each at twice the size of the one before."""

    def __init__(self, config: SingleConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Sequential(*_trunk(self.global_config()))
        self.add_enhancers(to_picture=True)

    def forward(self, condition: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, H, W) in [-1, 1]."""
        *fine, coarsest = pyramid(condition, self.config.n_enhancers + 1)
        return self.enhance(self.model(coarsest), tuple(fine))


class FeatureTrunk(nn.Module):
    """A global network that sees feature maps at its entrance and around its residual blocks."""

    config: SingleConfig

    def add_trunk(self, width: int) -> None:
        config, kind = self.config, self.config.norm
        widths = _widths(width, config.n_downsample)
        self.model_downsample = nn.Sequential(
            *stem(config.condition_channels + config.n_features, widths[0], kind), *_downs(widths, kind))
        self.model_resnet = nn.Sequential(*blocks(config.n_blocks, widths[-1] + config.n_features, kind))
        self.model_upsample = nn.Sequential(*_ups(widths, kind, joined=2 * config.n_features))

    def trunk(self, condition: Tensor, features: Tensor) -> Tensor:
        small = pyramid(features, self.config.n_downsample + 1)[-1]
        deep = self.model_resnet(_join(self.model_downsample(_join(condition, features)), small))
        return self.model_upsample(_join(deep, small))


class GlobalWithFeatures(FeatureTrunk):
    def __init__(self, config: SingleConfig) -> None:
        super().__init__()
        self.config = config
        self.add_trunk(config.width)
        self.model_upsample_conv = head(config.width + config.n_features, config.picture_channels, nn.Tanh())

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        """(B, C, H, W), (B, n_features, H, W) -> (B, 3, H, W) in [-1, 1]."""
        return self.model_upsample_conv(_join(self.trunk(condition, features), features))


class LocalWithFeatures(FeatureTrunk, Enhancers):
    def __init__(self, config: SingleConfig) -> None:
        super().__init__()
        self.config = config
        self.add_trunk(self.global_config().width)
        self.add_enhancers(to_picture=False)
        self.model_final = head(config.width + config.n_features, config.picture_channels, nn.Tanh())

    def forward(self, condition: Tensor, features: Tensor) -> Tensor:
        """(B, C, H, W), (B, n_features, H, W) -> (B, 3, H, W) in [-1, 1]."""
        finest, *coarser = pyramid(condition, self.config.n_enhancers + 1)
        small = pyramid(features, self.config.n_enhancers + 1)[-1]
        conditions = (_join(finest, features), *coarser[:-1])
        return self.model_final(_join(self.enhance(self.trunk(coarser[-1], small), conditions, small), features))


class Encoder(nn.Module):
    """How each region of a picture looks: an hourglass whose answer is averaged over every region."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = _widths(config.width, config.n_downsample, widest=math.inf)
        self.model = nn.Sequential(
            *stem(3, widths[0], config.norm), *_downs(widths, config.norm), *_ups(widths, config.norm),
            *head(widths[0], config.n_features, nn.Tanh()))
        init_weights(self)

    def forward(self, picture: Tensor, regions: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], (B, 1, H, W) integer ids -> (B, n_features, H, W), one value in each region."""
        return region_means(self.model(picture), regions)


def build_single(config: SingleConfig) -> nn.Module:
    """Called with the condition and, in kinds with features, the feature maps."""
    networks = {"global": GlobalGenerator, "local": LocalGenerator, "global_with_features": GlobalWithFeatures,
                "local_with_features": LocalWithFeatures}
    network = networks[config.kind](config)
    init_weights(network)
    return network
