"""The objectives of a window as named terms (SPEC 8): of images, of motion, of temporal groups, of faces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn

from models.flow.warp import warp
from models.losses.functional import (
    DiscriminatorOutputs,
    GANMode,
    feature_matching_loss,
    gan_loss,
    masked_l1_loss,
)
from models.losses.temporal_groups import FrameGroups
from models.networks.discriminators import ConditionInput, MultiScaleDiscriminator
from models.networks.generators import FLOW_SCALE, GeneratorOutput
from models.ops.dispatch import reference_ops
from util.clip import FlowEstimate
from util.distributed.amp import run_in_float32

PerceptualDistance = Callable[
    [Tensor, Tensor], Tensor
]  # K versions of N images, and these: their mean distance


@dataclass(frozen=True)
class LossConfig:
    """n_layers, num_D: of the image discriminator, which weigh feature matching everywhere. n_scales: spatial scales of
    the generator. composed: whether images are composed with warped ones (not `no_flow`). penalise_weight: `W`, where
    the first images come from the network itself. face_side: pixels of the face discriminator's square. count_raw:
    whether what single images are judged by counts for the raw one too, as published. r1: weight of the penalty on a
    discriminator's slope at real images. lambda_distill: of what a teacher's images ask."""

    gan_mode: GANMode = "ls"
    n_layers: int = 3
    num_D: int = 2
    n_scales: int = 1
    has_flow: bool = True
    uses_weight_penalty: bool = False
    lambda_feat: float = 10.0
    lambda_flow: float = 10.0
    lambda_warp: float = 10.0
    face_crop_size: int = 128
    uses_openpose_face: bool = False
    lambda_r1: float = 0.0
    should_score_raw: bool = True
    lambda_distill: float = 10.0

    def select_scored_images(self, output: GeneratorOutput) -> list[Tensor]:
        """The images (B, T, 3, H, W) that the terms of single images are summed over; one may stand twice."""
        return [output.image, output.raw_image if self.has_flow else output.image][
            : 1 + self.should_score_raw
        ]

    @property
    def feature_matching_weight(self) -> float:
        return self.lambda_feat * 4 / (self.n_layers + 1) / self.num_D


@dataclass(frozen=True)
class Losses:
    """Named scalars: what the generator minimises, and what the discriminator does (the mean of real and fake)."""

    generator: dict[str, Tensor] = field(default_factory=dict)
    discriminator: dict[str, Tensor] = field(default_factory=dict)

    def __or__(self, other: Losses) -> Losses:
        return Losses(self.generator | other.generator, self.discriminator | other.discriminator)

    def to(self, device: torch.device) -> Losses:
        return Losses(
            *(
                {name: value.to(device) for name, value in side.items()}
                for side in (self.generator, self.discriminator)
            )
        )

    def with_suffix(self, suffix: object = "") -> Losses:
        """With a suffix to every name."""
        return Losses(
            *(
                {f"{name}{suffix}": value for name, value in side.items()}
                for side in (self.generator, self.discriminator)
            )
        )


def average_losses(weighted_losses: Sequence[tuple[Losses, float]], device: torch.device) -> Losses:
    """Of the terms of parts of a batch, each with its share of it, on the device: every term is a mean over frames, so
    the mean of the parts is the whole's."""
    if len(weighted_losses) == 1:
        return weighted_losses[0][0].to(device)

    def mean(side: str) -> dict[str, Tensor]:
        weighted = [
            {name: value.to(device) * share for name, value in getattr(terms, side).items()}
            for terms, share in weighted_losses
        ]
        return {name: sum_losses(terms[name] for terms in weighted) for name in weighted[0]}

    return Losses(mean("generator"), mean("discriminator"))


@dataclass(frozen=True)
class GeneratedWindow:
    """A generated window, T frames of B clips, full size.

    condition (B, T, C, H, W); real and real_before, the image before each (B, T, 3, H, W); frames as generated;
    fake_before: the generated image before each, without gradient, at a clip's start the real one; reference: flow
    (B, T, 2, H, W) and confidence (B, T, 1, H, W) from real to real_before; taught: (B, T, 3, H, W), as a teacher
    paints it, where there is one.
    """

    condition: Tensor
    real: Tensor
    real_prev: Tensor
    output: GeneratorOutput
    fake_prev: Tensor
    reference_flow: FlowEstimate
    teacher_images: Tensor | None = None

    def to(self, device: torch.device) -> GeneratedWindow:
        return self.apply(lambda tensor: tensor.to(device, non_blocking=True))

    def apply(self, fn: Callable[[Tensor], Tensor]) -> GeneratedWindow:
        """With every tensor changed."""
        reference = FlowEstimate(fn(self.reference_flow.flow), fn(self.reference_flow.confidence))
        return GeneratedWindow(
            fn(self.condition),
            fn(self.real),
            fn(self.real_prev),
            self.output.apply(fn),
            fn(self.fake_prev),
            reference,
            None if self.teacher_images is None else fn(self.teacher_images),
        )

    def __len__(self) -> int:
        return self.real.shape[1]


def flatten_time(x: Tensor) -> Tensor:
    """(B, T, C, H, W) -> (B T, C, H, W): all frames of a window are one batch."""
    return rearrange(x, "b t c h w -> (b t) c h w")


@dataclass(frozen=True)
class GANLosses:
    """What a discriminator says of real and fake, and how the generator takes it."""

    real: Tensor
    fake: Tensor
    generator: Tensor
    feature_matching: Tensor


def compute_gan_losses(
    discriminator: nn.Module,
    real_outputs: DiscriminatorOutputs,
    fake: Tensor,
    config: LossConfig,
    condition: ConditionInput | None = None,
) -> GANLosses:
    """real: the discriminator's answer on real images. fake: (N, C, H, W), with its gradient. beside: what both stand
    beside.

    One pass serves both sides: the discriminator's terms reach its own weights alone, the generator's the generator's
    alone, because the trainer asks each backward pass for the gradients of one side (`Trainer.update`).
    """
    scores = discriminator(fake, condition)
    return GANLosses(
        real=gan_loss(real_outputs, True, config.gan_mode),
        fake=gan_loss(scores, False, config.gan_mode),
        generator=gan_loss(scores, True, config.gan_mode, for_discriminator=False),
        feature_matching=feature_matching_loss(scores, real_outputs)
        * config.feature_matching_weight,
    )


def compute_r1_penalty(
    discriminator: nn.Module, real_inputs: Sequence[Tensor], loss_name: str, config: LossConfig
) -> Losses:
    """R1 (Mescheder et al. 2018): how steep the scores are at real inputs, here in parts (N, C, H, W), so that a
    discriminator cannot win by being steep. The squared slope of an input's mean score, summed over the pyramid;
    nothing without `r1`."""
    if not config.lambda_r1:
        return Losses()
    inputs = torch.cat(list(real_inputs), dim=1).detach().requires_grad_()
    with reference_ops():
        scores = run_in_float32(discriminator, inputs)
    height = torch.stack([scale[-1].mean(dim=(1, 2, 3)).sum() for scale in scores]).sum()
    (slope,) = torch.autograd.grad(height, inputs, create_graph=True)
    return Losses({}, {loss_name: slope.square().sum(dim=(1, 2, 3)).mean() * config.lambda_r1})


def compute_image_losses(
    discriminator: MultiScaleDiscriminator, window: GeneratedWindow, config: LossConfig
) -> Losses:
    """Single images with their condition; everything once for the image and once for the raw one."""
    condition, painted = flatten_time(window.condition), config.select_scored_images(window.output)
    beside = discriminator.precompute_condition(condition)
    real = discriminator(flatten_time(window.real), beside)
    once = {
        id(x): compute_gan_losses(discriminator, real, flatten_time(x), config, beside)
        for x in painted
    }
    verdicts = [once[id(x)] for x in painted]
    return Losses(
        {
            "G_GAN": sum_losses(v.generator for v in verdicts),
            "G_GAN_Feat": sum_losses(v.feature_matching for v in verdicts),
        },
        {
            "D_real": sum_losses(v.real for v in verdicts),
            "D_fake": sum_losses(v.fake for v in verdicts),
        },
    ) | compute_r1_penalty(discriminator, [condition, flatten_time(window.real)], "D_R1", config)


def compute_perceptual_losses(
    perceptual: PerceptualDistance, window: GeneratedWindow, config: LossConfig
) -> Losses:
    painted = config.select_scored_images(window.output)
    once = {id(x): flatten_time(x) for x in painted}
    mean = perceptual(
        torch.cat(list(once.values())), flatten_time(window.real)
    )  # of all in one pass, and the real ones once
    return Losses({"G_VGG": mean * len(painted) * config.lambda_feat})


def compute_flow_losses(window: GeneratedWindow, config: LossConfig) -> Losses:
    """What the reference flow asks: of the images (G_Warp), of the learned flow (F_Flow, F_Warp) and weight (W)."""
    frames, reference = window.output, window.reference_flow
    confidence = flatten_time(reference.confidence)
    carried = warp(flatten_time(window.fake_prev), flatten_time(reference.flow)).detach()
    terms = {
        "G_Warp": masked_l1_loss(flatten_time(frames.image), carried, confidence)
        * config.lambda_warp
    }
    if frames.flow is None or frames.blend_weight is None:
        return Losses(terms)
    flow = flatten_time(frames.flow)
    terms["F_Flow"] = (
        masked_l1_loss(flow, flatten_time(reference.flow), confidence)
        * config.lambda_flow
        / 2 ** (config.n_scales - 1)
    )
    moved = warp(flatten_time(window.real_prev), flow)
    terms["F_Warp"] = (
        masked_l1_loss(moved, flatten_time(window.real), confidence) * config.lambda_warp
    )
    if config.uses_weight_penalty:
        terms["W"] = masked_l1_loss(flatten_time(frames.blend_weight), 0.0, confidence)
    return Losses(terms)


def compute_temporal_losses(
    discriminator: nn.Module, groups: FrameGroups, flow: Tensor, config: LossConfig
) -> Losses:
    """flow: (B, G, tD-1, 2, H, W), between the neighbours of each group."""
    motion = rearrange(flow / FLOW_SCALE, "b g t c h w -> (b g) (t c) h w")

    def seen(images: Tensor) -> Tensor:
        return torch.cat([rearrange(images, "b g t c h w -> (b g) (t c) h w"), motion], dim=1)

    real = seen(groups.real)
    verdict = compute_gan_losses(discriminator, discriminator(real), seen(groups.fake), config)
    return Losses(
        {
            "G_T_GAN": verdict.generator,
            "G_T_GAN_Feat": verdict.feature_matching,
            "G_T_Warp": torch.zeros_like(verdict.generator),
        },
        {"D_T_real": verdict.real, "D_T_fake": verdict.fake},
    ) | compute_r1_penalty(discriminator, [real], "D_T_R1", config)


_DENSEPOSE_FACE_THRESHOLD = 0.9  # the third channel of DensePose from here on is the face: part ids 23 and 24 of 24, in [-1, 1]
_OPENPOSE_FACE_COLOR = (
    153 / 127.5 - 1,
    -1.0,
    51 / 127.5 - 1,
)  # the limb from nose to neck, as OpenPose is drawn


def find_face_box(condition: Tensor, config: LossConfig) -> tuple[slice, slice] | None:
    """Rows and columns of the square around all face pixels of a window's pose maps (B, T, C, H, W); None: no face."""
    if config.uses_openpose_face:
        colour = condition.new_tensor(_OPENPOSE_FACE_COLOR)[:, None, None]
        face = ((condition[:, :, :3] - colour).abs() < 0.01).all(dim=2)
    else:
        face = condition[:, :, 2] > _DENSEPOSE_FACE_THRESHOLD
    if not face.any():
        return None

    def span(axis: int) -> slice:
        found = face.any(dim=tuple(d for d in range(4) if d != axis)).nonzero()
        half, size = config.face_crop_size // 2, face.shape[axis]
        centre = (int(found.min()) + int(found.max())) // 2
        centre = max(half, min(size - 1 - half, centre))
        return slice(centre - half, centre + half)

    return span(2), span(3)


def compute_face_losses(
    discriminator: MultiScaleDiscriminator, window: GeneratedWindow, config: LossConfig
) -> Losses:
    """The square around the face, with its condition. Zeros where there is none."""
    box = find_face_box(window.condition, config)
    if box is None:
        zero = window.real.new_zeros(())
        return Losses({"G_f_GAN": zero, "G_f_GAN_Feat": zero}, {"D_f_real": zero, "D_f_fake": zero})

    condition, real, fake = (
        flatten_time(x)[..., box[0], box[1]]
        for x in (window.condition, window.real, window.output.image)
    )
    beside = discriminator.precompute_condition(condition)
    verdict = compute_gan_losses(discriminator, discriminator(real, beside), fake, config, beside)
    return Losses(
        {"G_f_GAN": verdict.generator * 2, "G_f_GAN_Feat": verdict.feature_matching * 2},
        {"D_f_real": verdict.real, "D_f_fake": verdict.fake},
    )


def sum_losses(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()
