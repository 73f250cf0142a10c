"""The method as the public release executes it, in PyTorch: the baseline of `scripts/benchmarks/bench.py`.

- Everything is float32 and contiguous NCHW; label maps are dense one-hot maps.
- Convolutions and norms are PyTorch's.
- Discriminators process every fake twice, and the real frames once per scored image; so does VGG.
- Reference flow is estimated at every step.
- In synthesis, every frame is read, generated and written before the next.
- Adam updates weight by weight.

This file is not to be optimized. It reads weights by their published keys and shares only data
types and bookkeeping with the program, so tests also use it to check the optimized networks. It
passes the golden cases of tests/parity.

Usage: `python -m scripts.benchmarks.reference_implementation train|test FLAGS`, with flags of
train.py or test.py.
"""

from __future__ import annotations

import runpy
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.inference_inputs import open_inference_inputs
from models.checkpoint import load_generators
from models.flow import FlowEstimator
from models.flow.estimator import estimate_clip_flow
from models.inference.first_frame import FirstImageProvider, build_first_image_provider
from models.inference.synthesizer import SynthesisConfig
from models.losses.functional import DiscriminatorOutputs, feature_matching_loss, gan_loss
from models.losses.perceptual import VGG_LAYER_WEIGHTS, PerceptualLoss
from models.losses.temporal_groups import BufferedFrame, FrameBuffer, FrameGroups, group_frames
from models.losses.vid2vid import (
    GANLosses,
    GeneratedWindow,
    LossConfig,
    Losses,
    compute_flow_losses,
    find_face_box,
    flatten_time,
    select_scored_images,
    sum_losses,
)
from models.networks.collection import Vid2VidModels
from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.networks.generators import GeneratorOutput, build_generator
from models.networks.input_encoding import ConditionConfig, pad_clip
from models.networks.rollout import History
from models.training.device_groups import GroupReplicas
from models.training.divergence import compute_pixel_std
from models.training.forward import ClipState, ForwardConfig, StepOutput
from models.training.non_finite import reduce_and_check_losses
from models.training.schedule import EpochSettings
from models.training.trainer import Trainer
from models.training.visuals import make_visuals
from options import configs
from options.registry import MODEL_REGISTRY, ConditionToImage
from options.schema import TrainOptions
from options.test import parse_test
from util.clip import Clip, FlowEstimate
from util.distributed import setup_devices
from util.errors import UserError, exit_on_user_error
from util.images.visualization import tensor_to_image
from util.io.result_writer import SequenceWriter

_FeaturesByBranch = dict[str, Tensor]
"""Features by branch: image "model_{}_img", flow "model_{}_flow", foreground "indv_{}".

The braces are filled with "down", "res" or "up" to get the key of a stage.
"""

# networks


@dataclass
class ReferenceNetwork:
    """A network that consists of its state dict alone: layers are found by their keys and shapes."""

    weights: Mapping[str, Tensor]

    @cached_property
    def layers_by_stage(self) -> dict[str, list[int]]:
        """The numbers of the layers with weights, by stage (`STAGE.NUMBER.weight`)."""
        numbers: dict[str, set[int]] = {}
        for key in self.weights:
            stage, number, *_ = key.split(".")
            numbers.setdefault(stage, set()).add(int(number))
        return {stage: sorted(layers) for stage, layers in numbers.items()}

    def conv2d(self, layer: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        """Apply a convolution."""
        weight, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
        return F.conv2d(x, weight, bias, stride, padding)

    def conv_transpose2d(self, layer: str, x: Tensor) -> Tensor:
        """Apply a transposed convolution that doubles the size."""
        weight, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
        return F.conv_transpose2d(x, weight, bias, 2, 1, 1)

    def norm(self, layer: str, x: Tensor) -> Tensor:
        """Apply batch norm if the layer has weights, else instance norm, by the statistics of x."""
        if f"{layer}.weight" in self.weights:
            weight, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
            return F.batch_norm(x, None, None, weight, bias, training=True)
        return F.instance_norm(x)

    def conv2d_reflect(self, layer: str, x: Tensor) -> Tensor:
        """Apply a convolution with reflection padding that keeps the size."""
        margin = self.weights[f"{layer}.weight"].shape[-1] // 2
        return self.conv2d(layer, F.pad(x, [margin] * 4, "reflect"))

    def residual_block(self, block: str, x: Tensor) -> Tensor:
        """Apply a residual block."""
        y = F.relu_(self.norm(f"{block}.2", self.conv2d_reflect(f"{block}.1", x)))
        return x + self.norm(f"{block}.6", self.conv2d_reflect(f"{block}.5", y))

    def run_stage(self, stage: str, x: Tensor) -> Tensor:
        """Apply a stage: a sequence of convolutions (each with norm and ReLU) and residual blocks."""
        for number in self.layers_by_stage.get(stage, []):
            layer = f"{stage}.{number}"
            if f"{layer}.conv_block.1.weight" in self.weights:
                x = self.residual_block(f"{layer}.conv_block", x)
            elif self._is_conv(layer):
                x = F.relu_(self.norm(f"{stage}.{number + 1}", self.stage_conv(layer, x)))
        return x

    def _is_conv(self, layer: str) -> bool:
        """Return whether a layer is a convolution; the weights of norms have one dimension."""
        weight = self.weights.get(f"{layer}.weight")
        return weight is not None and weight.ndim == 4

    def stage_conv(self, layer: str, x: Tensor) -> Tensor:
        """Apply a 7x7 convolution that keeps the size, or one that doubles or halves it."""
        if self.weights[f"{layer}.weight"].shape[-1] == 7:
            return self.conv2d_reflect(layer, x)
        if "_up" in layer:
            return self.conv_transpose2d(layer, x)
        return self.conv2d(layer, x, stride=2, padding=1)


@dataclass
class ReferenceGenerator(ReferenceNetwork):
    """The generator of one spatial scale.

    Attributes:
        scale: 0 for the coarsest (G0), 1 for G1, ...
        foreground_labels: Labels that the foreground branch generates; empty without one.
    """

    scale: int
    foreground_labels: tuple[int, ...] = ()

    def __call__(
        self, condition: Tensor, history: Tensor, no_warp: bool, coarse_features: _FeaturesByBranch
    ) -> tuple[GeneratorOutput, _FeaturesByBranch]:
        """Generate a frame.

        Args:
            condition: (B, tG, C, h, w).
            history: (B, tG-1, 3, h, w), the previous generated images.
            no_warp: Whether the image is the raw image alone.
            coarse_features: Features of the next coarser generator, before its heads.

        Returns:
            The frame, (B, C, h, w), and the features of this generator before its heads.
        """
        conditions, images = condition.flatten(1, 2), history.flatten(1, 2)
        trunk = self.run_stage("model_down_seg", conditions)
        trunk = trunk + self.run_stage("model_down_img", images)
        inputs = {"model_{}_img": trunk}
        if "model_up_flow" in self.layers_by_stage:
            inputs["model_{}_flow"] = trunk
        if self.foreground_labels:
            inputs["indv_{}"] = self.run_stage("indv_down", conditions)
        features = {}
        for branch, x in inputs.items():
            is_coarsest = not coarse_features
            x = (
                self.run_stage(branch.format("res"), x)
                if is_coarsest
                else x + coarse_features[branch]
            )
            features[branch] = self.run_stage(branch.format("up"), x)
        return self.compose_frame(features, condition, history, no_warp), features

    def compose_frame(
        self, features: _FeaturesByBranch, condition: Tensor, history: Tensor, no_warp: bool
    ) -> GeneratorOutput:
        """Apply the heads and blend the raw image with the warped previous one."""
        raw_image = self.conv2d_reflect("model_final_img.1", features["model_{}_img"]).tanh()
        image = raw_image
        flow = blend_weight = None
        flow_features = features.get("model_{}_flow")
        if flow_features is not None:
            flow = self.conv2d_reflect("model_final_flow.1", flow_features) * 20 * 2**self.scale
            blend_weight = self.conv2d_reflect("model_final_w.1", flow_features).sigmoid()
            if not no_warp:
                warped = reference_warp(history[:, -1], flow)
                image = raw_image * blend_weight + warped * (1 - blend_weight)
        if self.foreground_labels:
            foreground = self.conv2d_reflect("indv_final.1", features["indv_{}"]).tanh()
            mask = condition[:, -1, list(self.foreground_labels)].sum(1, keepdim=True).clamp(0, 1)
            image = foreground * mask + image * (1 - mask)
            raw_image = foreground * mask + raw_image * (1 - mask)
        return GeneratorOutput(image, raw_image, flow, blend_weight)


@dataclass
class ReferenceDiscriminator(ReferenceNetwork):
    """A multi-scale discriminator."""

    config: DiscriminatorConfig

    def __call__(self, x: Tensor) -> DiscriminatorOutputs:
        """Return the feature maps by scale, the finest first; the last map is the score."""
        scales = reversed(range(self.config.n_scales))
        pyramid = reference_pyramid(x, self.config.n_scales)
        return [self.run_scale(scale, y) for scale, y in zip(scales, pyramid, strict=True)]

    def run_scale(self, scale: int, x: Tensor) -> list[Tensor]:
        """Return the feature maps of one scale."""
        last = self.config.n_layers + 1
        features = []
        for n in range(last + 1):
            layer = f"scale{scale}_layer{n}"
            x = self.conv2d(f"{layer}.0", x, stride=2 if n < self.config.n_layers else 1, padding=2)
            if 0 < n < last:
                x = self.norm(f"{layer}.1", x)
            if n < last:
                x = F.leaky_relu_(x, 0.2)
            features.append(x)
        return features


def reference_warp(image: Tensor, flow: Tensor) -> Tensor:
    """Return image(p + flow(p)), with image (N, C, H, W) and flow (N, 2, H, W) in pixels."""
    y, x = (torch.arange(size, device=flow.device) for size in flow.shape[2:])
    grid_x = (x + flow[:, 0]) / (len(x) - 1)
    grid_y = (y[:, None] + flow[:, 1]) / (len(y) - 1)
    grid = torch.stack([grid_x, grid_y], dim=3)
    return F.grid_sample(image, grid * 2 - 1, "bilinear", "border", align_corners=True)


def _halve_resolution(x: Tensor) -> Tensor:
    """Halve (..., C, H, W)."""
    y = F.avg_pool2d(x.flatten(0, -4), 3, 2, padding=1, count_include_pad=False)
    return y.unflatten(0, x.shape[:-3])


def reference_pyramid(x: Tensor, n_scales: int) -> list[Tensor]:
    """Return x at all scales, the finest first."""
    pyramid = [x]
    for _ in range(n_scales - 1):
        pyramid.append(_halve_resolution(pyramid[-1]))
    return pyramid


def reference_encode(clip: Clip, config: ConditionConfig) -> Tensor:
    """Return the condition (B, T, C, H, W) in float32: one-hot labels, then the instance edges."""
    condition = clip.condition
    if config.label_nc:
        ids = torch.arange(config.label_nc, device=condition.device)[:, None, None]
        condition = (condition == ids).float()
    if not config.instance_edges:
        return condition
    assert clip.instance is not None
    padded = F.pad(clip.instance.float(), [1, 1, 1, 1, 0, 0], "replicate")
    neighbors = (
        padded[..., 1:-1, 2:],
        padded[..., 1:-1, :-2],
        padded[..., 2:, 1:-1],
        padded[..., :-2, 1:-1],
    )
    edges = torch.stack([neighbor != clip.instance for neighbor in neighbors]).any(0)
    return torch.cat([condition, edges.float()], dim=2)


def get_contiguous_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """Make the parameters of a network contiguous in place; return its state dict with gradients."""
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    return network.state_dict(keep_vars=True)


def build_reference_generators(networks: nn.ModuleList) -> list[ReferenceGenerator]:
    """Build reference generators that share the parameters of the networks."""
    return [
        ReferenceGenerator(get_contiguous_state_dict(network), scale, network.config.foreground)  # type: ignore[union-attr,arg-type]
        for scale, network in enumerate(networks)
    ]


# synthesis


def reference_generate_frame(
    generators: Sequence[ReferenceGenerator],
    condition_pyramid: Sequence[Tensor],
    history_pyramid: Sequence[Tensor],
    no_warp: bool,
    n_trainable: int,
) -> tuple[GeneratorOutput, list[Tensor]]:
    """Generate one frame at all scales.

    Args:
        generators: The generators, the coarsest first.
        condition_pyramid: Conditions (B, tG, C, h, w), the finest scale first.
        history_pyramid: Previous images (B, tG-1, 3, h, w), the finest scale first.
        no_warp: Whether the image is the raw image alone.
        n_trainable: How many generators, counted from the finest, get gradients.

    Returns:
        The frame of the finest scale, and the images of all scales, the finest first.
    """
    features: _FeaturesByBranch = {}
    images: list[Tensor] = []
    first_trainable = len(generators) - n_trainable
    scales = zip(generators, reversed(condition_pyramid), reversed(history_pyramid), strict=True)
    for generator, condition, history in scales:
        is_trainable = torch.is_grad_enabled() and generator.scale >= first_trainable
        with torch.set_grad_enabled(is_trainable):
            frame, features = generator(condition, history, no_warp, features)
        images.insert(0, frame.image)
    return frame, images


def _push_history(history: Sequence[Tensor], images: Sequence[Tensor]) -> list[Tensor]:
    """Drop the oldest image of each scale and append the new one."""
    return [
        torch.cat([previous[:, 1:], image[:, None]], dim=1)
        for previous, image in zip(history, images, strict=True)
    ]


@torch.no_grad()
def reference_synthesize(
    networks: nn.ModuleList,
    clips: Iterable[Clip],
    first_frames: FirstImageProvider,
    config: SynthesisConfig,
    device: torch.device,
) -> Iterator[tuple[Clip, Tensor]]:
    """Generate a sequence frame by frame; see `models.inference.synthesis.synthesize`."""
    generators = build_reference_generators(networks)
    n_scales = len(generators)
    first_clips: list[Clip] = []
    conditions: deque[Tensor] = deque(maxlen=config.n_frames_G)
    history: list[Tensor] = []
    for clip in clips:
        # Clips become float32 on the CPU, as the release loads them.
        padded = pad_clip(clip.to(torch.device("cpu")), config.size_multiple).to(device)
        conditions.append(reference_encode(padded, config.condition_config))
        if len(conditions) < config.n_frames_G:
            first_clips.append(padded)
            continue
        is_first = not history
        if is_first:
            history = reference_pyramid(first_frames(first_clips), n_scales)
        condition_pyramid = reference_pyramid(torch.cat(list(conditions), dim=1), n_scales)
        no_warp = is_first and config.no_first_img
        frame, images = reference_generate_frame(
            generators, condition_pyramid, history, no_warp, n_scales
        )
        history = _push_history(history, images)
        height, width = clip.condition.shape[-2:]
        yield clip, frame.image[..., :height, :width]


# training


def reference_vgg_loss(vgg: nn.Sequential, fake: Tensor, real: Tensor) -> Tensor:
    """Return the perceptual loss; images wider than 1024 are halved first, as published."""
    while fake.shape[-1] > 1024:
        fake, real = F.avg_pool2d(fake, 2), F.avg_pool2d(real, 2)
    loss = fake.new_zeros(())
    for number, layer in enumerate(vgg):
        fake, real = layer(fake), layer(real)
        if number in VGG_LAYER_WEIGHTS:
            loss = loss + VGG_LAYER_WEIGHTS[number] * F.l1_loss(fake, real.detach())
    return loss


@dataclass(frozen=True)
class ReferenceForward:
    """The forward pass and the losses of a window as the public release executes them.

    Every discriminator scores real, detached fake and fake inputs in separate passes, and VGG
    compares every scored image separately.
    """

    networks: Vid2VidModels
    vgg: PerceptualLoss | None
    flow_estimator: FlowEstimator
    config: ForwardConfig
    loss_config: LossConfig

    def __post_init__(self) -> None:
        if self.loss_config.lambda_r1:
            raise UserError("the reference implementation has no R1 penalty: leave out --r1")

    def __call__(
        self, window: Clip, state: ClipState | None, settings: EpochSettings
    ) -> StepOutput:
        """Generate a window and compute its losses; see `WindowForward`."""
        state = state or ClipState()
        generated, history = self.generate_window(window, state, settings)
        new_frames = {
            state.n_generated + t: BufferedFrame(
                generated.real[:, t],
                generated.output.image[:, t],
                generated.reference_flow.flow[:, t],
            )
            for t in range(len(generated))
        }
        frame_buffer = state.frame_buffer or FrameBuffer.empty(self.config.temporal)
        groups, frame_buffer = group_frames(frame_buffer, new_frames, self.config.temporal)
        losses = {
            "D": self.image_losses(generated)
            | compute_flow_losses(generated, self.loss_config)
            | self.face_losses(generated)
        }
        for scale, scale_groups in enumerate(groups):
            if scale_groups is not None:
                losses[f"D_T{scale}"] = self.temporal_losses(scale_groups, scale).with_suffix(scale)
        next_state = ClipState(
            history, frame_buffer, n_generated=state.n_generated + len(generated)
        )
        return StepOutput(losses, next_state, generated.output.image, generated.real, generated)

    def visualize(self, window: Clip, output: StepOutput) -> dict[str, np.ndarray]:
        """Return images of the window's last frame, by name."""
        return make_visuals(output.generated)

    def estimate_flow(self, current: Tensor, previous: Tensor) -> FlowEstimate:
        """Estimate the flow of frame pairs (B, P, 3, H, W) anew, as the release does at every step."""
        return estimate_clip_flow(self.flow_estimator, current, previous, None)

    def generate_window(
        self, window: Clip, state: ClipState, settings: EpochSettings
    ) -> tuple[GeneratedWindow, History]:
        """Generate the frames of a window, one after the other."""
        assert window.image is not None
        n_history, images = self.config.n_history, window.image
        generators = build_reference_generators(self.networks.netG)
        condition = reference_encode(window, self.config.conditions)
        no_first_img = self.config.no_first_img
        n_trainable = len(generators) if settings.train_coarse else 1
        is_first = state.history is None
        if state.history is None:
            first_images = images[:, :n_history] * (0 if no_first_img else 1)
            history = reference_pyramid(first_images, len(generators))
            fake_before = images[:, n_history - 1]
        else:
            history = list(state.history.images)
            fake_before = history[0][:, -1]

        frames: list[GeneratorOutput] = []
        for t in range(window.window_size):
            condition_pyramid = reference_pyramid(condition, len(generators))
            conditions = [scale[:, t : t + n_history + 1] for scale in condition_pyramid]
            visible = history
            if t % settings.bptt_frames == 0:
                visible = [scale.detach() for scale in history]
            frame, new_images = reference_generate_frame(
                generators, conditions, visible, is_first and no_first_img, n_trainable
            )
            history = _push_history(history, new_images)
            frames.append(frame)

        output = GeneratorOutput.stack(frames)
        real, real_prev = images[:, n_history:], images[:, n_history - 1 : -1]
        fake_prev = torch.cat([fake_before[:, None], output.image[:, :-1]], dim=1).detach()
        generated = GeneratedWindow(
            condition[:, n_history:],
            real,
            real_prev,
            output,
            fake_prev,
            self.estimate_flow(real, real_prev),
        )
        return generated, History(tuple(scale.detach() for scale in history))

    def compute_gan_losses(
        self, network: MultiScaleDiscriminator | None, real: Tensor, fake: Tensor
    ) -> GANLosses:
        """Compute the losses of one discriminator in three passes."""
        assert network is not None
        config = self.loss_config
        discriminator = ReferenceDiscriminator(get_contiguous_state_dict(network), network.config)
        real_outputs = discriminator(real)
        detached_outputs = discriminator(fake.detach())
        fake_outputs = discriminator(fake)
        return GANLosses(
            real=gan_loss(real_outputs, True, config.gan_mode),
            fake=gan_loss(detached_outputs, False, config.gan_mode),
            generator=gan_loss(fake_outputs, True, config.gan_mode, for_discriminator=False),
            feature_matching=feature_matching_loss(fake_outputs, real_outputs)
            * config.feature_matching_weight,
        )

    def image_losses(self, window: GeneratedWindow) -> Losses:
        """Compute adversarial, feature matching and perceptual losses of single images."""
        config = self.loss_config
        condition, real = flatten_time(window.condition), flatten_time(window.real)
        scored = [
            flatten_time(images)
            for images, count in select_scored_images(window.output, config)
            for _ in range(count)
        ]
        gan = [
            self.compute_gan_losses(
                self.networks.netD, torch.cat([condition, real], 1), torch.cat([condition, fake], 1)
            )
            for fake in scored
        ]
        losses = {
            "G_GAN": sum_losses(part.generator for part in gan),
            "G_GAN_Feat": sum_losses(part.feature_matching for part in gan),
        }
        if self.vgg is not None:
            distances = [reference_vgg_loss(self.vgg.features, fake, real) for fake in scored]
            losses["G_VGG"] = sum_losses(distances) * config.lambda_feat
        return Losses(
            losses,
            {
                "D_real": sum_losses(part.real for part in gan),
                "D_fake": sum_losses(part.fake for part in gan),
            },
        )

    def face_losses(self, window: GeneratedWindow) -> Losses:
        """Compute the losses of the face discriminator."""
        if self.networks.netD_f is None:
            return Losses()
        box = find_face_box(window.condition, self.loss_config)
        if box is None:
            zero = window.real.new_zeros(())
            return Losses(
                {"G_f_GAN": zero, "G_f_GAN_Feat": zero}, {"D_f_real": zero, "D_f_fake": zero}
            )
        rows, columns = box

        def crop(images: Tensor) -> Tensor:
            return flatten_time(torch.cat([window.condition, images], 2)[..., rows, columns])

        real, fake = crop(window.real), crop(window.output.image)
        gan = self.compute_gan_losses(self.networks.netD_f, real, fake)
        return Losses(
            {"G_f_GAN": gan.generator * 2, "G_f_GAN_Feat": gan.feature_matching * 2},
            {"D_f_real": gan.real, "D_f_fake": gan.fake},
        )

    def temporal_losses(self, groups: FrameGroups, scale: int) -> Losses:
        """Compute the losses of one temporal discriminator."""
        if scale == 0 or self.config.temporal.is_sparse:
            flow = groups.flow
        else:
            current = groups.real[:, :, 1:].flatten(1, 2)
            previous = groups.real[:, :, :-1].flatten(1, 2)
            flow = self.estimate_flow(current, previous).flow
            flow = flow.unflatten(1, (len(groups.frame_numbers), -1))

        def stack(images: Tensor) -> Tensor:
            parts = [part.flatten(0, 1).flatten(1, 2) for part in (images, flow / 20)]
            return torch.cat(parts, 1)

        network = self.networks.netD_T[scale]
        gan = self.compute_gan_losses(network, stack(groups.real), stack(groups.fake))  # type: ignore[arg-type]
        return Losses(
            {
                "G_T_GAN": gan.generator,
                "G_T_GAN_Feat": gan.feature_matching,
                "G_T_Warp": torch.zeros_like(gan.generator),
            },
            {"D_T_real": gan.real, "D_T_fake": gan.fake},
        )


def build_reference_forward(
    opt: TrainOptions, group: GroupReplicas, condition_to_image: ConditionToImage
) -> ReferenceForward:
    """Build the reference forward pass; see `ModelSpec.build_forward`."""
    _, discriminators = group.discriminators[0]
    vgg = group.perceptual_losses[0]
    return ReferenceForward(
        networks=replace(discriminators, netG=group.generators[0]),
        vgg=vgg if isinstance(vgg, PerceptualLoss) else None,
        flow_estimator=group.flow_estimator,
        config=configs.forward_config(opt),
        loss_config=configs.loss_config(opt),
    )


class ReferenceTrainer(Trainer):
    """The trainer with the release's optimizer steps: one after the other, weight by weight."""

    def __post_init__(self) -> None:
        discriminator = self.networks.netD.config if self.networks.netD else DiscriminatorConfig()
        if (
            self.networks.netE
            or self.config.ema_half_life
            or discriminator.spectral_norm
            or not discriminator.returns_features
            or self.device_setup.precision.amp != "off"
            or len(self.forward.forwards) > 1
        ):
            raise UserError(
                "the reference implementation trains on one device as the public release did: "
                "leave out --label_feat, --ema, --spectral_norm, --no_ganFeat, --amp and "
                "further --gpu_ids"
            )
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group.update(foreach=False, fused=False)

    def optimize(
        self, output: StepOutput, settings: EpochSettings
    ) -> tuple[dict[str, float], list[float]]:
        """Step G, then each discriminator, each with a backward pass of its own."""
        losses, pixel_std = reduce_and_check_losses(
            output.losses,
            compute_pixel_std(output.fake, output.real),
            self.device_setup.process_group,
        )
        parts = output.losses.values()
        self._step("G", [loss for part in parts for loss in part.generator.values()])
        for name, part in output.losses.items():
            self._step(name, [loss / 2 for loss in part.discriminator.values()])
        return losses, pixel_std

    def _step(self, name: str, losses: Sequence[Tensor]) -> None:
        self.optimizers[name].optimizer.zero_grad()
        sum_losses(losses).backward()
        self.optimizers[name].optimizer.step()


# programs


def run_reference_train(flags: Sequence[str]) -> None:
    """Run train.py with the reference forward pass and optimizer steps."""
    spec = replace(MODEL_REGISTRY["vid2vid"], build_forward=build_reference_forward)
    with (
        patch.dict(MODEL_REGISTRY, {"vid2vid": spec}),
        patch("options.build.Trainer", ReferenceTrainer),
        patch.object(sys, "argv", ["train.py", *flags]),
    ):
        runpy.run_path(str(Path(__file__).parents[2] / "train.py"), run_name="__main__")


def run_reference_test(flags: Sequence[str]) -> None:
    """Run synthesis like test.py, one frame after the other and without the results page."""
    options = parse_test(flags)
    device = setup_devices(configs.device_config(options)).device
    frame_reader = configs.build_frame_reader(options)
    folder = configs.results_folder(options)
    first_frames, uses_real_images = build_first_image_provider(configs.first_frame_config(options))
    networks = build_generator(configs.generator_config(options))
    load_generators(networks, configs.run_folder(options), options.which_epoch)
    networks.to(device)
    inputs = open_inference_inputs(
        configs.input_config(options, uses_real_images),
        frame_reader,
        configs.transform_config(options),
        options.n_frames_G - 1,
        folder / "input",
    )
    config = configs.synthesis_config(options)
    suffixes = {"real_A": ".png" if options.label_nc else ".jpg", "fake_B": ".jpg"}
    n_remaining = int(options.how_many)
    for name, reader, _ in inputs.sequences:
        frames = reference_synthesize(networks, reader, first_frames, config, device)
        with SequenceWriter(folder / name, 25, suffixes) as writer:
            for clip, image in islice(frames, n_remaining):
                condition = frame_reader.condition_to_image(clip.condition[0, 0])
                images = {"real_A": condition, "fake_B": tensor_to_image(image[0])}
                writer.write(Path(clip.names[0][0]).name, images)
                n_remaining -= 1


def main() -> None:
    """Run train or test."""
    programs = {"train": run_reference_train, "test": run_reference_test}
    program, *flags = sys.argv[1:] or [""]
    if program in ("-h", "--help"):
        print(__doc__)
    elif program in programs:
        programs[program](flags)
    else:
        raise UserError("expected train or test, then the flags of train.py or test.py")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
