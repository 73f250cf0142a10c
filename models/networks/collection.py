"""All networks of a run under their published names, and their optimisers."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from models.losses.temporal_groups import TemporalConfig
from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.pix2pixhd import (
    Encoder,
    EncoderConfig,
    SingleImageConfig,
    build_single_image_generator,
)

EMA_SUFFIX = "_ema"  # what the averaged generator's names end with


@dataclass(frozen=True)
class Vid2VidModels:
    """generator: the coarsest first. image: None where nobody judges images. temporal: one discriminator per
    temporal scale. encoder: of the features that say how regions look, which learns with the generator. averaged: the
    generator's running average (`--ema`), which learns nothing by itself."""

    netG: nn.ModuleList
    netD: MultiScaleDiscriminator | None
    netD_T: nn.ModuleList
    netD_f: MultiScaleDiscriminator | None
    netE: Encoder | None = None
    netG_ema: nn.ModuleList | None = None

    def named_networks(self) -> dict[str, nn.Module]:
        """By the names that their files have: G0, G1, ..., D, D_T0, ..., D_f, E, G0_ema, ..."""
        return self.named_trainable_networks() | {
            f"G{i}{EMA_SUFFIX}": network for i, network in enumerate(self.netG_ema or ())
        }

    def named_trainable_networks(self) -> dict[str, nn.Module]:
        """Those that optimisers move."""
        named: dict[str, nn.Module] = {f"G{i}": network for i, network in enumerate(self.netG)}
        named |= {"D": self.netD} if self.netD else {}
        named |= {f"D_T{s}": network for s, network in enumerate(self.netD_T)}
        named |= {"D_f": self.netD_f} if self.netD_f else {}
        return named | ({"E": self.netE} if self.netE else {})

    def to(
        self, device: torch.device, memory_format: torch.memory_format = torch.preserve_format
    ) -> Vid2VidModels:
        """Moves them, in place. layout: of their convolutions' weights, which images take on from them."""
        for network in self.named_networks().values():
            network.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        return self

    def parameters_by_optimizer(self) -> dict[str, list[nn.Parameter]]:
        """The weights that each optimiser moves: G (with the encoder's), D (with the face's), D_T0, ..."""
        players: dict[str, list[nn.Parameter]] = {}
        for name, network in self.named_trainable_networks().items():
            players.setdefault(optimizer_name(name), []).extend(network.parameters())
        return players

    def convert_sync_batchnorm(self) -> None:
        """Batch norms share their statistics between processes; not the face's, which some clips have none for, nor the
        encoder's, with which one process surveys the data alone."""
        for name, network in self.named_trainable_networks().items():
            if name not in ("D_f", "E"):
                nn.SyncBatchNorm.convert_sync_batchnorm(network)


def optimizer_name(network_name: str) -> str:
    """The optimiser that moves the network of this name."""
    if network_name.startswith("G") or network_name == "E":
        return "G"
    return "D" if network_name == "D_f" else network_name


@dataclass(frozen=True)
class SingleNetworkModels(Vid2VidModels):
    """Of another network than the video's: `generator` holds it alone. file: its name there, which begins with G."""

    netG_name: str = "G"

    def named_trainable_networks(self) -> dict[str, nn.Module]:
        return {
            self.netG_name if name == "G0" else name: network
            for name, network in super().named_trainable_networks().items()
        }


def get_face_n_scales(n_scales: int) -> int:
    """The face region is small: two scales fewer than other discriminators have."""
    return max(1, n_scales - 2)


def make_face_config(config: DiscriminatorConfig) -> DiscriminatorConfig:
    return replace(config, n_scales=get_face_n_scales(config.n_scales))


def build_models(
    generator: GeneratorConfig,
    discriminator: DiscriminatorConfig,
    temporal: TemporalConfig,
    has_face_discriminator: bool,
    encoder: EncoderConfig | None = None,
    has_ema: bool = False,
) -> Vid2VidModels:
    """Freshly drawn. Discriminators see the condition without features: those tell what the real image shows.
    averaged: with a running average of the generator."""
    seen = generator.condition_channels + generator.image_channels
    group = temporal.n_frames_D * generator.image_channels + (temporal.n_frames_D - 1) * 2
    painting = build_generator(generator)
    return Vid2VidModels(
        netG=painting,
        netD=MultiScaleDiscriminator(seen, discriminator),
        netD_T=nn.ModuleList(
            MultiScaleDiscriminator(group, discriminator) for _ in range(temporal.n_scales)
        ),
        netD_f=MultiScaleDiscriminator(seen, make_face_config(discriminator))
        if has_face_discriminator
        else None,
        netE=Encoder(encoder) if encoder else None,
        netG_ema=deepcopy(painting).requires_grad_(False) if has_ema else None,
    )


def build_single_image_models(
    single: SingleImageConfig, discriminator: DiscriminatorConfig, encoder: EncoderConfig | None
) -> SingleNetworkModels:
    """Freshly drawn."""
    seen = single.condition_channels + single.image_channels
    return SingleNetworkModels(
        nn.ModuleList([build_single_image_generator(single)]),
        MultiScaleDiscriminator(seen, discriminator),
        nn.ModuleList(),
        None,
        Encoder(encoder) if encoder else None,
    )


@dataclass(frozen=True)
class OptimizerConfig:
    """two_rates: TTUR, half the rate for G, twice for D, no momentum for either; the D_T as without."""

    lr: float = 0.0002
    beta1: float = 0.5
    uses_ttur: bool = False

    def get_lr_and_betas(self, optimizer: str) -> tuple[float, tuple[float, float]]:
        """Learning rate and betas."""
        if not self.uses_ttur or optimizer not in ("G", "D"):
            return self.lr, (self.beta1, 0.999)
        return self.lr / 2 if optimizer == "G" else self.lr * 2, (0.0, 0.9)


def build_optimizers(models: Vid2VidModels, config: OptimizerConfig) -> dict[str, Optimizer]:
    """Adam for each player; `initial_lr` is what the schedule's factor multiplies."""

    def adam(player: str, parameters: list[nn.Parameter]) -> Optimizer:
        lr, betas = config.get_lr_and_betas(player)
        return Adam([{"params": parameters, "initial_lr": lr}], lr=lr, betas=betas)

    return {
        player: adam(player, parameters)
        for player, parameters in models.parameters_by_optimizer().items()
    }
