"""All networks of a run under their published names, and their optimizers."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from models.networks.discriminators import (
    DiscriminatorConfig,
    MultiScaleDiscriminator,
    TemporalConfig,
)
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.pix2pixhd import (
    Encoder,
    EncoderConfig,
    SingleImageConfig,
    build_single_image_generator,
)

EMA_SUFFIX = "_ema"  # of the averaged generator's names


@dataclass(frozen=True)
class Vid2VidModels:
    """All networks of a run.

    Attributes:
        netG: The generator's networks, the coarsest first.
        netD: Discriminator of single images; None in label prediction.
        netD_T: One discriminator of frame groups per temporal scale.
        netD_f: Discriminator of faces.
        netE: Encoder of instance features, trained with the generator.
        netG_ema: Exponential moving average of the generator (`--ema`).
    """

    netG: nn.ModuleList
    netD: MultiScaleDiscriminator | None
    netD_T: nn.ModuleList
    netD_f: MultiScaleDiscriminator | None
    netE: Encoder | None = None
    netG_ema: nn.ModuleList | None = None

    def named_networks(self) -> dict[str, nn.Module]:
        """Return the networks by their names in file names: G0, G1, ..., D, D_T0, ..., D_f, E, G0_ema, ..."""
        return self.named_trainable_networks() | {
            f"G{i}{EMA_SUFFIX}": network for i, network in enumerate(self.netG_ema or ())
        }

    def named_trainable_networks(self) -> dict[str, nn.Module]:
        """Return the networks that have an optimizer, by name."""
        named: dict[str, nn.Module] = {f"G{i}": network for i, network in enumerate(self.netG)}
        if self.netD:
            named["D"] = self.netD
        named |= {f"D_T{scale}": network for scale, network in enumerate(self.netD_T)}
        if self.netD_f:
            named["D_f"] = self.netD_f
        if self.netE:
            named["E"] = self.netE
        return named

    def to(
        self, device: torch.device, memory_format: torch.memory_format = torch.preserve_format
    ) -> Vid2VidModels:
        """Move the networks in place. The memory format is that of convolutions' weights."""
        for network in self.named_networks().values():
            network.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        return self

    def parameters_by_optimizer(self) -> dict[str, list[nn.Parameter]]:
        """Return the weights of each optimizer: G (with the encoder), D (with the face discriminator), D_T0, ..."""
        parameters: dict[str, list[nn.Parameter]] = {}
        for name, network in self.named_trainable_networks().items():
            parameters.setdefault(optimizer_name(name), []).extend(network.parameters())
        return parameters

    def convert_sync_batchnorm(self) -> None:
        """Make batch norms share their statistics between processes.

        Not the face discriminator's, because some clips have no face, and not the encoder's, because after training one
        process runs it alone.
        """
        for name, network in self.named_trainable_networks().items():
            if name not in ("D_f", "E"):
                nn.SyncBatchNorm.convert_sync_batchnorm(network)


def optimizer_name(network_name: str) -> str:
    """Return the name of a network's optimizer."""
    if network_name.startswith("G") or network_name == "E":
        return "G"
    return "D" if network_name == "D_f" else network_name


@dataclass(frozen=True)
class SingleNetworkModels(Vid2VidModels):
    """Networks of a run with a single generator that is no video generator.

    Attributes:
        netG_name: The generator's name in file names. It starts with G.
    """

    netG_name: str = "G"

    def named_trainable_networks(self) -> dict[str, nn.Module]:
        """Return the networks that have an optimizer, by name."""
        return {
            self.netG_name if name == "G0" else name: network
            for name, network in super().named_trainable_networks().items()
        }


def get_face_n_scales(n_scales: int) -> int:
    """Return the face discriminator's number of scales: two fewer, because the face region is small."""
    return max(1, n_scales - 2)


def make_face_config(config: DiscriminatorConfig) -> DiscriminatorConfig:
    """Return the configuration of the face discriminator."""
    return replace(config, n_scales=get_face_n_scales(config.n_scales))


def build_models(
    generator: GeneratorConfig,
    discriminator: DiscriminatorConfig,
    temporal: TemporalConfig,
    has_face_discriminator: bool,
    encoder: EncoderConfig | None = None,
    has_ema: bool = False,
) -> Vid2VidModels:
    """Build the networks of a video run with random weights.

    Discriminators see the condition without instance features, which would tell them about the real image.
    """
    image_channels = generator.condition_channels + generator.image_channels
    flow_channels = 2 * (temporal.n_frames_D - 1)
    group_channels = temporal.n_frames_D * generator.image_channels + flow_channels
    # the order of construction is the order of random draws
    netG = build_generator(generator)
    netD = MultiScaleDiscriminator(image_channels, discriminator)
    netD_T = [
        MultiScaleDiscriminator(group_channels, discriminator) for _ in range(temporal.n_scales)
    ]
    netD_f = netE = netG_ema = None
    if has_face_discriminator:
        netD_f = MultiScaleDiscriminator(image_channels, make_face_config(discriminator))
    if encoder:
        netE = Encoder(encoder)
    if has_ema:
        netG_ema = deepcopy(netG).requires_grad_(False)
    return Vid2VidModels(netG, netD, nn.ModuleList(netD_T), netD_f, netE, netG_ema)


def build_single_image_models(
    single: SingleImageConfig, discriminator: DiscriminatorConfig, encoder: EncoderConfig | None
) -> SingleNetworkModels:
    """Build the networks of a single-image run with random weights."""
    image_channels = single.condition_channels + single.image_channels
    return SingleNetworkModels(
        nn.ModuleList([build_single_image_generator(single)]),
        MultiScaleDiscriminator(image_channels, discriminator),
        nn.ModuleList(),
        None,
        Encoder(encoder) if encoder else None,
    )


@dataclass(frozen=True)
class OptimizerConfig:
    """Configuration of Adam.

    Attributes:
        lr: Learning rate.
        beta1: Momentum.
        uses_ttur: Two time-scale update rule: half the learning rate for G, twice for D, no momentum for either.
            As published: optimizers of D_T are as without.
    """

    lr: float = 0.0002
    beta1: float = 0.5
    uses_ttur: bool = False

    def get_lr_and_betas(self, optimizer: str) -> tuple[float, tuple[float, float]]:
        """Return learning rate and betas of an optimizer."""
        if not self.uses_ttur or optimizer not in ("G", "D"):
            return self.lr, (self.beta1, 0.999)
        return self.lr / 2 if optimizer == "G" else self.lr * 2, (0.0, 0.9)


def build_optimizers(models: Vid2VidModels, config: OptimizerConfig) -> dict[str, Optimizer]:
    """Build the optimizers by name. The schedule's factor multiplies `initial_lr` of their parameter groups."""
    optimizers: dict[str, Optimizer] = {}
    for name, parameters in models.parameters_by_optimizer().items():
        lr, betas = config.get_lr_and_betas(name)
        group = {"params": parameters, "initial_lr": lr}
        optimizers[name] = Adam([group], lr=lr, betas=betas)
    return optimizers
