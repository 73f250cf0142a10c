"""All networks of a run under their published names, and their optimisers."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.generators import GeneratorConfig, build_generator
from models.single import Encoder, EncoderConfig, SingleConfig, build_single
from models.temporal import TemporalConfig
from util.placement.stepping import Stepper

AVERAGED = "_ema"  # what the averaged generator's names end with


@dataclass(frozen=True)
class Networks:
    """generator: the coarsest first. image: None where nobody judges pictures. temporal: one discriminator per
    temporal scale. encoder: of the features that say how regions look, which learns with the generator. averaged: the
    generator's running average (`--ema`), which learns nothing by itself."""

    generator: nn.ModuleList
    image: MultiScaleDiscriminator | None
    temporal: nn.ModuleList
    face: MultiScaleDiscriminator | None
    encoder: Encoder | None = None
    averaged: nn.ModuleList | None = None

    def named(self) -> dict[str, nn.Module]:
        """By the names that their files have: G0, G1, ..., D, D_T0, ..., D_f, E, G0_ema, ..."""
        return self.learning() | {f"G{i}{AVERAGED}": network for i, network in enumerate(self.averaged or ())}

    def learning(self) -> dict[str, nn.Module]:
        """Those that optimisers move."""
        named: dict[str, nn.Module] = {f"G{i}": network for i, network in enumerate(self.generator)}
        named |= {"D": self.image} if self.image else {}
        named |= {f"D_T{s}": network for s, network in enumerate(self.temporal)}
        named |= {"D_f": self.face} if self.face else {}
        return named | ({"E": self.encoder} if self.encoder else {})

    def to(self, device: torch.device, layout: torch.memory_format = torch.preserve_format) -> Networks:
        """Moves them, in place. layout: of their convolutions' weights, which pictures take on from them."""
        for network in self.named().values():
            network.to(device, memory_format=layout)  # type: ignore[call-overload]
        return self

    def players(self) -> dict[str, list[nn.Parameter]]:
        """The weights that each optimiser moves: G (with the encoder's), D (with the face's), D_T0, ..."""
        players: dict[str, list[nn.Parameter]] = {}
        for name, network in self.learning().items():
            players.setdefault(player_of(name), []).extend(network.parameters())
        return players

    def share_norms(self) -> None:
        """Batch norms share their statistics between processes; not the face's, which some clips have none for, nor the
        encoder's, with which one process surveys the data alone."""
        for name, network in self.learning().items():
            if name not in ("D_f", "E"):
                nn.SyncBatchNorm.convert_sync_batchnorm(network)

    @torch.no_grad()
    def update_average(self, half_life: float) -> None:
        """One step of the running average, in which a step counts half after `half_life` more."""
        assert self.averaged is not None
        follow = get_ema_multi_avg_fn(0.5 ** (1 / half_life))
        follow(list(self.averaged.parameters()), list(self.generator.parameters()), 0)


def player_of(name: str) -> str:
    """The optimiser that moves the network of this name."""
    if name.startswith("G") or name == "E":
        return "G"
    return "D" if name == "D_f" else name


@dataclass(frozen=True)
class OneNetwork(Networks):
    """Of another network than the video's: `generator` holds it alone. file: its name there, which begins with G."""

    file: str = "G"

    def learning(self) -> dict[str, nn.Module]:
        return {self.file if name == "G0" else name: network for name, network in super().learning().items()}


def face_scales(n_scales: int) -> int:
    """The face region is small: two scales fewer than other discriminators have."""
    return max(1, n_scales - 2)


def face_config(config: DiscriminatorConfig) -> DiscriminatorConfig:
    return replace(config, n_scales=face_scales(config.n_scales))


def build_networks(generator: GeneratorConfig, discriminator: DiscriminatorConfig, temporal: TemporalConfig,
                   face: bool, encoder: EncoderConfig | None = None, averaged: bool = False) -> Networks:
    """Freshly drawn. Discriminators see the condition without features: those tell what the real picture shows.
    averaged: with a running average of the generator."""
    seen = generator.condition_channels + generator.picture_channels
    group = temporal.n_frames * generator.picture_channels + (temporal.n_frames - 1) * 2
    painting = build_generator(generator)
    return Networks(
        generator=painting,
        image=MultiScaleDiscriminator(seen, discriminator),
        temporal=nn.ModuleList(MultiScaleDiscriminator(group, discriminator) for _ in range(temporal.n_scales)),
        face=MultiScaleDiscriminator(seen, face_config(discriminator)) if face else None,
        encoder=Encoder(encoder) if encoder else None,
        averaged=deepcopy(painting).requires_grad_(False) if averaged else None)


def build_single_networks(single: SingleConfig, discriminator: DiscriminatorConfig,
                          encoder: EncoderConfig | None) -> OneNetwork:
    """Freshly drawn."""
    seen = single.condition_channels + single.picture_channels
    return OneNetwork(nn.ModuleList([build_single(single)]), MultiScaleDiscriminator(seen, discriminator),
                          nn.ModuleList(), None, Encoder(encoder) if encoder else None)


@dataclass(frozen=True)
class OptimizerConfig:
    """two_rates: TTUR, half the rate for G, twice for D, no momentum for either; the D_T as without."""

    lr: float = 0.0002
    beta1: float = 0.5
    two_rates: bool = False

    def settings(self, player: str) -> tuple[float, tuple[float, float]]:
        """Learning rate and betas."""
        if not self.two_rates or player not in ("G", "D"):
            return self.lr, (self.beta1, 0.999)
        return self.lr / 2 if player == "G" else self.lr * 2, (0.0, 0.9)


def build_optimizers(networks: Networks, config: OptimizerConfig) -> dict[str, Optimizer]:
    """Adam for each player; `initial_lr` is what the schedule's factor multiplies."""
    def adam(player: str, parameters: list[nn.Parameter]) -> Optimizer:
        lr, betas = config.settings(player)
        return Adam([{"params": parameters, "initial_lr": lr}], lr=lr, betas=betas)

    return {player: adam(player, parameters) for player, parameters in networks.players().items()}


def set_learning_rates(optimizers: Mapping[str, Optimizer | Stepper], factor: float) -> None:
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
