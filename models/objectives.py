"""The objectives of a window as named terms (SPEC 8): of pictures, of motion, of temporal groups, of faces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn

from models.discriminators import Beside, MultiScaleDiscriminator
from models.fast.choice import plainly
from models.generators import FLOW_UNIT, Frame
from models.losses import GanMode, Scores, feature_matching_loss, gan_loss, masked_l1
from models.temporal import FrameGroups
from models.warp import warp
from util.clip import Flow
from util.placement.precision import full_precision

Perceptual = Callable[[Tensor, Tensor], Tensor]  # K versions of N pictures, and these: their mean distance


@dataclass(frozen=True)
class ObjectiveConfig:
    """n_layers, num_D: of the image discriminator, which weigh feature matching everywhere. n_scales: spatial scales of
    the generator. composed: whether pictures are composed with warped ones (not `no_flow`). penalise_weight: `W`, where
    the first pictures come from the network itself. face_side: pixels of the face discriminator's square. count_raw:
    whether what single pictures are judged by counts for the raw one too, as published. r1: weight of the penalty on a
    discriminator's slope at real pictures. lambda_distill: of what a teacher's pictures ask."""

    gan_mode: GanMode = "ls"
    n_layers: int = 3
    num_D: int = 2
    n_scales: int = 1
    composed: bool = True
    penalise_weight: bool = False
    lambda_feat: float = 10.0
    lambda_flow: float = 10.0
    lambda_warp: float = 10.0
    face_side: int = 128
    face_from_pose: bool = False
    r1: float = 0.0
    count_raw: bool = True
    lambda_distill: float = 10.0

    def judged(self, frames: Frame) -> list[Tensor]:
        """The pictures (B, T, 3, H, W) that the terms of single pictures are summed over; one may stand twice."""
        return [frames.picture, frames.raw if self.composed else frames.picture][:1 + self.count_raw]

    @property
    def feature_weight(self) -> float:
        return self.lambda_feat * 4 / (self.n_layers + 1) / self.num_D


@dataclass(frozen=True)
class Terms:
    """Named scalars: what the generator minimises, and what the discriminator does (the mean of real and fake)."""

    generator: dict[str, Tensor] = field(default_factory=dict)
    discriminator: dict[str, Tensor] = field(default_factory=dict)

    def __or__(self, other: Terms) -> Terms:
        return Terms(self.generator | other.generator, self.discriminator | other.discriminator)

    def to(self, device: torch.device) -> Terms:
        return Terms(*({name: value.to(device) for name, value in side.items()}
                       for side in (self.generator, self.discriminator)))

    def named(self, suffix: object = "") -> Terms:
        """With a suffix to every name."""
        return Terms(*({f"{name}{suffix}": value for name, value in side.items()}
                       for side in (self.generator, self.discriminator)))


def mean_of(parts: Sequence[tuple[Terms, float]], device: torch.device) -> Terms:
    """Of the terms of parts of a batch, each with its share of it, on the device: every term is a mean over frames, so
    the mean of the parts is the whole's."""
    if len(parts) == 1:
        return parts[0][0].to(device)

    def mean(side: str) -> dict[str, Tensor]:
        weighted = [{name: value.to(device) * share for name, value in getattr(terms, side).items()}
                    for terms, share in parts]
        return {name: sum_of(terms[name] for terms in weighted) for name in weighted[0]}

    return Terms(mean("generator"), mean("discriminator"))


@dataclass(frozen=True)
class Window:
    """A generated window, T frames of B clips, full size.

    condition (B, T, C, H, W); real and real_before, the picture before each (B, T, 3, H, W); frames as generated;
    fake_before: the generated picture before each, without gradient, at a clip's start the real one; reference: flow
    (B, T, 2, H, W) and confidence (B, T, 1, H, W) from real to real_before; taught: (B, T, 3, H, W), as a teacher
    paints it, where there is one.
    """

    condition: Tensor
    real: Tensor
    real_before: Tensor
    frames: Frame
    fake_before: Tensor
    reference: Flow
    taught: Tensor | None = None

    def to(self, device: torch.device) -> Window:
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def map(self, change: Callable[[Tensor], Tensor]) -> Window:
        """With every tensor changed."""
        reference = Flow(change(self.reference.flow), change(self.reference.confidence))
        return Window(change(self.condition), change(self.real), change(self.real_before), self.frames.map(change),
                      change(self.fake_before), reference, None if self.taught is None else change(self.taught))

    def __len__(self) -> int:
        return self.real.shape[1]


def flat(x: Tensor) -> Tensor:
    """(B, T, C, H, W) -> (B T, C, H, W): all frames of a window are one batch."""
    return rearrange(x, "b t c h w -> (b t) c h w")


@dataclass(frozen=True)
class Verdict:
    """What a discriminator says of real and fake, and how the generator takes it."""

    real: Tensor
    fake: Tensor
    gan: Tensor
    features: Tensor


def judge(discriminator: nn.Module, real: Scores, fake: Tensor, config: ObjectiveConfig,
          beside: Beside | None = None) -> Verdict:
    """real: the discriminator's answer on real pictures. fake: (N, C, H, W), with its gradient. beside: what both stand
    beside.

    One pass serves both sides: the discriminator's terms reach its own weights alone, the generator's the generator's
    alone, because the trainer asks each backward pass for the gradients of one side (`Trainer.update`).
    """
    scores = discriminator(fake, beside)
    return Verdict(
        real=gan_loss(real, True, config.gan_mode), fake=gan_loss(scores, False, config.gan_mode),
        gan=gan_loss(scores, True, config.gan_mode, for_discriminator=False),
        features=feature_matching_loss(scores, real) * config.feature_weight)


def slope_penalty(discriminator: nn.Module, real: Sequence[Tensor], name: str, config: ObjectiveConfig) -> Terms:
    """R1 (Mescheder et al. 2018): how steep the scores are at real inputs, here in parts (N, C, H, W), so that a
    discriminator cannot win by being steep. The squared slope of an input's mean score, summed over the pyramid;
    nothing without `r1`."""
    if not config.r1:
        return Terms()
    inputs = torch.cat(list(real), dim=1).detach().requires_grad_()
    with plainly():
        scores = full_precision(discriminator, inputs)
    height = torch.stack([scale[-1].mean(dim=(1, 2, 3)).sum() for scale in scores]).sum()
    slope, = torch.autograd.grad(height, inputs, create_graph=True)
    return Terms({}, {name: slope.square().sum(dim=(1, 2, 3)).mean() * config.r1})


def image_terms(discriminator: MultiScaleDiscriminator, window: Window, config: ObjectiveConfig) -> Terms:
    """Single pictures with their condition; everything once for the picture and once for the raw one."""
    condition, painted = flat(window.condition), config.judged(window.frames)
    beside = discriminator.beside(condition)
    real = discriminator(flat(window.real), beside)
    once = {id(x): judge(discriminator, real, flat(x), config, beside) for x in painted}
    verdicts = [once[id(x)] for x in painted]
    return Terms(
        {"G_GAN": sum_of(v.gan for v in verdicts), "G_GAN_Feat": sum_of(v.features for v in verdicts)},
        {"D_real": sum_of(v.real for v in verdicts), "D_fake": sum_of(v.fake for v in verdicts)}
    ) | slope_penalty(discriminator, [condition, flat(window.real)], "D_R1", config)


def perceptual_terms(perceptual: Perceptual, window: Window, config: ObjectiveConfig) -> Terms:
    painted = config.judged(window.frames)
    once = {id(x): flat(x) for x in painted}
    mean = perceptual(torch.cat(list(once.values())), flat(window.real))  # of all in one pass, and the real ones once
    return Terms({"G_VGG": mean * len(painted) * config.lambda_feat})


def motion_terms(window: Window, config: ObjectiveConfig) -> Terms:
    """What the reference flow asks: of the pictures (G_Warp), of the learned flow (F_Flow, F_Warp) and weight (W)."""
    frames, reference = window.frames, window.reference
    confidence = flat(reference.confidence)
    carried = warp(flat(window.fake_before), flat(reference.flow)).detach()
    terms = {"G_Warp": masked_l1(flat(frames.picture), carried, confidence) * config.lambda_warp}
    if frames.flow is None or frames.weight is None:
        return Terms(terms)
    flow = flat(frames.flow)
    terms["F_Flow"] = (masked_l1(flow, flat(reference.flow), confidence)
                       * config.lambda_flow / 2 ** (config.n_scales - 1))
    moved = warp(flat(window.real_before), flow)
    terms["F_Warp"] = masked_l1(moved, flat(window.real), confidence) * config.lambda_warp
    if config.penalise_weight:
        terms["W"] = masked_l1(flat(frames.weight), 0.0, confidence)
    return Terms(terms)


def temporal_terms(discriminator: nn.Module, groups: FrameGroups, flow: Tensor, config: ObjectiveConfig) -> Terms:
    """flow: (B, G, tD-1, 2, H, W), between the neighbours of each group."""
    motion = rearrange(flow / FLOW_UNIT, "b g t c h w -> (b g) (t c) h w")

    def seen(pictures: Tensor) -> Tensor:
        return torch.cat([rearrange(pictures, "b g t c h w -> (b g) (t c) h w"), motion], dim=1)

    real = seen(groups.real)
    verdict = judge(discriminator, discriminator(real), seen(groups.fake), config)
    return Terms({"G_T_GAN": verdict.gan, "G_T_GAN_Feat": verdict.features, "G_T_Warp": torch.zeros_like(verdict.gan)},
                 {"D_T_real": verdict.real, "D_T_fake": verdict.fake}
                 ) | slope_penalty(discriminator, [real], "D_T_R1", config)


FACE_PART = 0.9  # the third channel of DensePose from here on is the face: part ids 23 and 24 of 24, in [-1, 1]
FACE_COLOUR = (153 / 127.5 - 1, -1.0, 51 / 127.5 - 1)  # the limb from nose to neck, as OpenPose is drawn


def face_box(condition: Tensor, config: ObjectiveConfig) -> tuple[slice, slice] | None:
    """Rows and columns of the square around all face pixels of a window's pose maps (B, T, C, H, W); None: no face."""
    if config.face_from_pose:
        colour = condition.new_tensor(FACE_COLOUR)[:, None, None]
        face = ((condition[:, :, :3] - colour).abs() < 0.01).all(dim=2)
    else:
        face = condition[:, :, 2] > FACE_PART
    if not face.any():
        return None

    def span(axis: int) -> slice:
        found = face.any(dim=tuple(d for d in range(4) if d != axis)).nonzero()
        half, size = config.face_side // 2, face.shape[axis]
        centre = (int(found.min()) + int(found.max())) // 2
        centre = max(half, min(size - 1 - half, centre))
        return slice(centre - half, centre + half)

    return span(2), span(3)


def face_terms(discriminator: MultiScaleDiscriminator, window: Window, config: ObjectiveConfig) -> Terms:
    """The square around the face, with its condition. Zeros where there is none."""
    box = face_box(window.condition, config)
    if box is None:
        zero = window.real.new_zeros(())
        return Terms({"G_f_GAN": zero, "G_f_GAN_Feat": zero}, {"D_f_real": zero, "D_f_fake": zero})

    condition, real, fake = (flat(x)[..., box[0], box[1]]
                             for x in (window.condition, window.real, window.frames.picture))
    beside = discriminator.beside(condition)
    verdict = judge(discriminator, discriminator(real, beside), fake, config, beside)
    return Terms({"G_f_GAN": verdict.gan * 2, "G_f_GAN_Feat": verdict.features * 2},
                 {"D_f_real": verdict.real, "D_f_fake": verdict.fake})


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
