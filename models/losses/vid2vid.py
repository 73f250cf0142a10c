"""The losses of vid2vid: single images, flow, temporal groups, faces (paper, section 3.3).

Each function returns named losses for the generator and for one discriminator. One forward pass of
a discriminator serves both: the trainer asks each backward pass for the gradients of one optimizer's
parameters only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

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
    r1_penalty,
)
from models.losses.temporal_groups import FrameGroups
from models.networks.discriminators import ConditionInput, MultiScaleDiscriminator
from models.networks.generators import FLOW_SCALE, GeneratorOutput
from models.ops.dispatch import reference_ops
from util.clip import FlowEstimate
from util.distributed.amp import run_in_float32

# (fakes (K N, 3, H, W), real (N, 3, H, W)) -> mean distance of K versions of N images.
PerceptualDistance = Callable[[Tensor, Tensor], Tensor]

# Images (B, T, 3, H, W), and how often the losses of single images count them.
ScoredImages = Sequence[tuple[Tensor, int]]

# DensePose labels the face with the part ids 23 and 24 of 24. Its third channel holds the id scaled
# to [-1, 1], so a face pixel is above 0.9.
_MIN_DENSEPOSE_FACE = 0.9

# The color in which OpenPose's limb from nose to neck is drawn, in [-1, 1].
_OPENPOSE_FACE_COLOR = (153 / 127.5 - 1, -1.0, 51 / 127.5 - 1)


@dataclass(frozen=True)
class LossConfig:
    """Settings of the losses.

    Attributes:
        gan_mode: Adversarial loss: `ls`, `original` or `hinge`.
        n_layers: Layers of the image discriminator; scales feature matching everywhere.
        num_D: Scales of the image discriminator; scales feature matching everywhere.
        n_scales: Spatial scales of the generator.
        has_flow: Whether images are blended with the warped previous image (not `--no_flow`).
        uses_weight_penalty: Whether the loss `W` keeps the blending weight small. It is used where
            the generator creates its own first images (`--no_first_img`).
        lambda_feat: Weight of feature matching and of the perceptual loss.
        lambda_flow: Weight of the flow loss (`--lambda_F`).
        lambda_warp: Weight of the warping losses (`--lambda_T`).
        face_crop_size: Side in pixels of the square that the face discriminator scores.
        uses_openpose_face: Whether the face is found in OpenPose's drawing, not in DensePose.
        lambda_r1: Weight of the R1 gradient penalty; 0 turns it off.
        should_score_raw: Whether single-image losses also score the raw image.
        lambda_distill: Weight of the distillation loss.
    """

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

    @property
    def feature_matching_weight(self) -> float:
        """Return the weight of feature matching: as published, 4 / (layers + 1) / scales."""
        return self.lambda_feat * 4 / (self.n_layers + 1) / self.num_D


@dataclass(frozen=True)
class Losses:
    """Named scalar losses.

    Attributes:
        generator: What the generator minimizes (the sum).
        discriminator: What one optimizer's discriminators minimize (half the sum).
    """

    generator: dict[str, Tensor] = field(default_factory=dict)
    discriminator: dict[str, Tensor] = field(default_factory=dict)

    def __or__(self, other: Losses) -> Losses:
        return Losses(
            self.generator | other.generator,
            self.discriminator | other.discriminator,
        )

    def named(self) -> dict[str, Tensor]:
        """Return all losses by name."""
        return self.generator | self.discriminator

    def to(self, device: torch.device) -> Losses:
        """Return the losses on a device."""
        return Losses(
            {name: loss.to(device) for name, loss in self.generator.items()},
            {name: loss.to(device) for name, loss in self.discriminator.items()},
        )

    def with_suffix(self, suffix: object) -> Losses:
        """Return the losses with a suffix appended to every name."""
        return Losses(
            {f"{name}{suffix}": loss for name, loss in self.generator.items()},
            {f"{name}{suffix}": loss for name, loss in self.discriminator.items()},
        )


def sum_losses(losses: Iterable[Tensor]) -> Tensor:
    """Return the sum of scalar losses."""
    return torch.stack(list(losses)).sum()


def average_losses(parts: Sequence[tuple[Losses, float]], device: torch.device) -> Losses:
    """Return the weighted mean of the losses of parts of a batch, on one device.

    Every loss is a mean over images, so the mean over the parts, weighted by their share of the
    images, is the loss of the whole.

    Args:
        parts: Losses of each part, with the part's share of the batch. The shares sum to 1.
        device: Device of the result.
    """
    if len(parts) == 1:
        return parts[0][0].to(device)
    weighted = [
        (
            {name: loss.to(device) * weight for name, loss in losses.generator.items()},
            {name: loss.to(device) * weight for name, loss in losses.discriminator.items()},
        )
        for losses, weight in parts
    ]
    generator, discriminator = weighted[0]
    return Losses(
        {name: sum_losses(part[0][name] for part in weighted) for name in generator},
        {name: sum_losses(part[1][name] for part in weighted) for name in discriminator},
    )


@dataclass(frozen=True)
class GeneratedWindow:
    """A window of T frames of B clips, as generated and as they are, at full size.

    Attributes:
        condition: (B, T, C, H, W), dense.
        real: (B, T, 3, H, W) in [-1, 1].
        real_prev: The real frame before each frame, (B, T, 3, H, W).
        output: What the generator made, (B, T, ...).
        fake_prev: The generated frame before each frame, (B, T, 3, H, W), without gradient. Before
            a clip's first generated frame it is the real one.
        reference_flow: Estimated flow from real to real_prev: (B, T, 2, H, W) with its confidence
            (B, T, 1, H, W).
        teacher_images: The same frames by the distillation teacher, (B, T, 3, H, W).
    """

    condition: Tensor
    real: Tensor
    real_prev: Tensor
    output: GeneratorOutput
    fake_prev: Tensor
    reference_flow: FlowEstimate
    teacher_images: Tensor | None = None

    def apply(self, fn: Callable[[Tensor], Tensor]) -> GeneratedWindow:
        """Return the window with every tensor replaced by fn(tensor)."""
        return GeneratedWindow(
            condition=fn(self.condition),
            real=fn(self.real),
            real_prev=fn(self.real_prev),
            output=self.output.apply(fn),
            fake_prev=fn(self.fake_prev),
            reference_flow=FlowEstimate(
                fn(self.reference_flow.flow), fn(self.reference_flow.confidence)
            ),
            teacher_images=None if self.teacher_images is None else fn(self.teacher_images),
        )

    def to(self, device: torch.device) -> GeneratedWindow:
        """Return the window on a device."""
        return self.apply(lambda tensor: tensor.to(device, non_blocking=True))

    def slice_frames(self, start: int, stop: int) -> GeneratedWindow:
        """Return the frames start to stop - 1."""
        return self.apply(lambda tensor: tensor[:, start:stop])

    def __len__(self) -> int:
        return self.real.shape[1]


def flatten_time(x: Tensor) -> Tensor:
    """Merge time into the batch: (B, T, C, H, W) -> (B T, C, H, W)."""
    return rearrange(x, "b t c h w -> (b t) c h w")


def select_scored_images(output: GeneratorOutput, config: LossConfig) -> ScoredImages:
    """Return the images (B, T, 3, H, W) that single-image losses score, each with its count.

    As published, the image and the raw image are both scored. Without flow they are one image,
    which then counts twice.
    """
    if not config.should_score_raw:
        return [(output.image, 1)]
    if not config.has_flow:
        return [(output.image, 2)]
    return [(output.image, 1), (output.raw_image, 1)]


@dataclass(frozen=True)
class GANLosses:
    """The losses of one discriminator on one set of fake images.

    Attributes:
        real: The discriminator's loss on real inputs.
        fake: The discriminator's loss on fake inputs.
        generator: The generator's adversarial loss.
        feature_matching: The generator's feature matching loss, weighted.
    """

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
    """Compute the losses of a discriminator and of the generator against it, in one pass.

    Args:
        discriminator: The discriminator.
        real_outputs: Its outputs for the real inputs.
        fake: Fake inputs (N, C, H, W), with gradient.
        config: Settings.
        condition: The condition of real and fake inputs, where it is passed separately.
    """
    fake_outputs = discriminator(fake, condition)
    return GANLosses(
        real=gan_loss(real_outputs, True, config.gan_mode),
        fake=gan_loss(fake_outputs, False, config.gan_mode),
        generator=gan_loss(fake_outputs, True, config.gan_mode, for_discriminator=False),
        feature_matching=feature_matching_loss(fake_outputs, real_outputs)
        * config.feature_matching_weight,
    )


def compute_image_losses(
    netD: MultiScaleDiscriminator,
    condition: Tensor,
    real: Tensor,
    fakes: ScoredImages,
    config: LossConfig,
) -> Losses:
    """Compute the adversarial and feature matching losses of single images.

    Args:
        netD: The image discriminator; it scores an image together with its condition.
        condition: (B, T, C, H, W).
        real: (B, T, 3, H, W).
        fakes: Sets of fake images (B, T, 3, H, W) with their counts (`select_scored_images`).
        config: Settings.
    """
    condition, real = flatten_time(condition), flatten_time(real)
    condition_input = netD.precompute_condition(condition)
    real_outputs = netD(real, condition_input)
    scored = []
    for images, count in fakes:
        fake = flatten_time(images)
        for _ in range(count - 1):
            # As published: an image that counts twice also updates the running statistics twice.
            with torch.no_grad():
                netD(fake, condition_input)
        gan = compute_gan_losses(netD, real_outputs, fake, config, condition_input)
        scored.append((gan, count))
    losses = Losses(
        {
            "G_GAN": sum_losses(gan.generator * count for gan, count in scored),
            "G_GAN_Feat": sum_losses(gan.feature_matching * count for gan, count in scored),
        },
        {
            "D_real": sum_losses(gan.real * count for gan, count in scored),
            "D_fake": sum_losses(gan.fake * count for gan, count in scored),
        },
    )
    return losses | _compute_r1_loss(netD, torch.cat([condition, real], dim=1), "D_R1", config)


def compute_perceptual_losses(
    perceptual_loss: PerceptualDistance, real: Tensor, fakes: ScoredImages, config: LossConfig
) -> Losses:
    """Compute the perceptual (VGG) loss of all scored images in one pass.

    Args:
        perceptual_loss: The distance in feature space.
        real: (B, T, 3, H, W).
        fakes: Sets of fake images (B, T, 3, H, W) with their counts.
        config: Settings.
    """
    images = torch.cat([flatten_time(fake) for fake, _ in fakes])
    mean_distance = perceptual_loss(images, flatten_time(real))
    total_count = sum(count for _, count in fakes)
    return Losses({"G_VGG": mean_distance * total_count * config.lambda_feat})


def compute_flow_losses(window: GeneratedWindow, config: LossConfig) -> Losses:
    """Compute the losses against the reference flow.

    G_Warp: the image against the previous generated image, warped by the reference flow.
    F_Flow: the generator's flow against the reference flow.
    F_Warp: the real image against the previous real image, warped by the generator's flow.
    W: the blending weight against 0.

    All are L1 distances, masked by the confidence of the reference flow.
    """
    output = window.output
    reference_flow = flatten_time(window.reference_flow.flow)
    confidence = flatten_time(window.reference_flow.confidence)

    warped_fake = warp(flatten_time(window.fake_prev), reference_flow).detach()
    image_distance = masked_l1_loss(flatten_time(output.image), warped_fake, confidence)
    losses = {"G_Warp": image_distance * config.lambda_warp}
    if output.flow is None or output.blend_weight is None:
        return Losses(losses)

    flow = flatten_time(output.flow)
    flow_distance = masked_l1_loss(flow, reference_flow, confidence)
    # As published: the flow loss is halved for each further spatial scale.
    losses["F_Flow"] = flow_distance * config.lambda_flow / 2 ** (config.n_scales - 1)

    warped_real = warp(flatten_time(window.real_prev), flow)
    real_distance = masked_l1_loss(warped_real, flatten_time(window.real), confidence)
    losses["F_Warp"] = real_distance * config.lambda_warp

    if config.uses_weight_penalty:
        losses["W"] = masked_l1_loss(flatten_time(output.blend_weight), 0.0, confidence)
    return Losses(losses)


def compute_temporal_losses(
    netD_T: nn.Module, groups: FrameGroups, flow: Tensor, config: LossConfig
) -> Losses:
    """Compute the losses of one temporal discriminator.

    It scores the frames of a group, stacked along the channels, with the flow between them.

    Args:
        netD_T: The temporal discriminator of one scale.
        groups: G groups of tD frames.
        flow: Flow between neighbors of each group, (B, G, tD-1, 2, H, W) in pixels.
        config: Settings.
    """
    flow_channels = rearrange(flow / FLOW_SCALE, "b g t c h w -> (b g) (t c) h w")

    def stack_group(images: Tensor) -> Tensor:
        image_channels = rearrange(images, "b g t c h w -> (b g) (t c) h w")
        return torch.cat([image_channels, flow_channels], dim=1)

    real = stack_group(groups.real)
    gan = compute_gan_losses(netD_T, netD_T(real), stack_group(groups.fake), config)
    losses = Losses(
        {
            "G_T_GAN": gan.generator,
            "G_T_GAN_Feat": gan.feature_matching,
            # As published: the log has this loss, and it is always 0.
            "G_T_Warp": torch.zeros_like(gan.generator),
        },
        {"D_T_real": gan.real, "D_T_fake": gan.fake},
    )
    return losses | _compute_r1_loss(netD_T, real, "D_T_R1", config)


def compute_face_losses(
    netD_f: MultiScaleDiscriminator, window: GeneratedWindow, config: LossConfig
) -> Losses:
    """Compute the losses of the face discriminator, on a square around the face.

    All losses are 0 in a window without a face.
    """
    box = find_face_box(window.condition, config)
    if box is None:
        zero = window.real.new_zeros(())
        return Losses(
            {"G_f_GAN": zero, "G_f_GAN_Feat": zero},
            {"D_f_real": zero, "D_f_fake": zero},
        )

    rows, columns = box
    condition = flatten_time(window.condition)[..., rows, columns]
    real = flatten_time(window.real)[..., rows, columns]
    fake = flatten_time(window.output.image)[..., rows, columns]
    condition_input = netD_f.precompute_condition(condition)
    real_outputs = netD_f(real, condition_input)
    gan = compute_gan_losses(netD_f, real_outputs, fake, config, condition_input)
    # As published: the generator's losses on the face count twice.
    return Losses(
        {"G_f_GAN": gan.generator * 2, "G_f_GAN_Feat": gan.feature_matching * 2},
        {"D_f_real": gan.real, "D_f_fake": gan.fake},
    )


def find_face_box(condition: Tensor, config: LossConfig) -> tuple[slice, slice] | None:
    """Find the square around all face pixels of a window.

    Args:
        condition: Pose maps (B, T, C, H, W).
        config: Settings.

    Returns:
        Rows and columns of one square for the whole window, or None without a face.
    """
    if config.uses_openpose_face:
        color = condition.new_tensor(_OPENPOSE_FACE_COLOR)[:, None, None]
        is_face = ((condition[:, :, :3] - color).abs() < 0.01).all(dim=2)
    else:
        is_face = condition[:, :, 2] > _MIN_DENSEPOSE_FACE
    if not is_face.any():
        return None
    return _find_span(is_face, 2, config), _find_span(is_face, 3, config)


def _find_span(is_face: Tensor, axis: int, config: LossConfig) -> slice:
    """Return the crop along one axis of a mask (B, T, H, W), centered on the face."""
    other_axes = tuple(other for other in range(4) if other != axis)
    positions = is_face.any(dim=other_axes).nonzero()
    half, size = config.face_crop_size // 2, is_face.shape[axis]
    center = (int(positions.min()) + int(positions.max())) // 2
    # As published: the upper limit is size - 1 - half, so the last row or column is never used.
    center = max(half, min(size - 1 - half, center))
    return slice(center - half, center + half)


def _compute_r1_loss(
    discriminator: nn.Module, real: Tensor, name: str, config: LossConfig
) -> Losses:
    """Compute the weighted R1 penalty at real inputs; no loss if it is off."""
    if not config.lambda_r1:
        return Losses()
    # The optimized operations are not twice differentiable.
    with reference_ops():
        penalty = r1_penalty(partial(run_in_float32, discriminator), real)
    return Losses({}, {name: penalty * config.lambda_r1})
