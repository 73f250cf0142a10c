"""One training window of vid2vid: generate its frames and compute all losses. Knows no devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.flow import FlowEstimator
from models.flow.estimator import estimate_clip_flow
from models.inference.instance_features import encode_feature_maps
from models.losses.distillation import compute_distillation_losses, generate_teacher_images
from models.losses.temporal_groups import (
    BufferedFrame,
    FrameBuffer,
    FrameGroups,
    group_frames,
    list_adjacent_pairs,
)
from models.losses.vid2vid import (
    GeneratedWindow,
    LossConfig,
    Losses,
    PerceptualDistance,
    compute_face_losses,
    compute_flow_losses,
    compute_image_losses,
    compute_perceptual_losses,
    compute_temporal_losses,
    select_scored_images,
    sum_losses,
)
from models.networks.discriminators import MultiScaleDiscriminator, TemporalConfig
from models.networks.generators import GeneratorOutput
from models.networks.input_encoding import ConditionConfig
from models.networks.labels import Condition
from models.networks.pix2pixhd import Encoder
from models.networks.rollout import History, RolloutConfig
from models.training.schedule import EpochSettings
from models.training.visuals import make_visuals
from util.clip import Clip, FlowEstimate

# (condition, history, config) -> the generated frames and the history after them.
Rollout = Callable[[Condition, History, RolloutConfig], tuple[GeneratorOutput, History]]

# By the optimizer of the discriminators: "D" (images and faces), "D_T0", ... Each entry also holds
# the generator's losses against them, and "D" the losses without a discriminator.
LossesByOptimizer = dict[str, Losses]


@dataclass(frozen=True)
class ClipState:
    """What one window of a clip passes to the next. The default is the state at a clip's start.

    Attributes:
        history: The last n_history images of every scale: generated, or a clip's first ones. None at
            a clip's start.
        frame_buffer: Frames that later temporal groups need; None at a clip's start.
        teacher_history: The last frames of the distillation teacher.
        n_generated: Frames of the clip that were generated so far.
    """

    history: History | None = None
    frame_buffer: FrameBuffer | None = None
    teacher_history: History | None = None
    n_generated: int = 0

    def apply(self, fn: Callable[[Tensor], Tensor]) -> ClipState:
        """Return the state with every tensor replaced by fn(tensor)."""
        return replace(
            self,
            history=_apply_to_history(self.history, fn),
            frame_buffer=None if self.frame_buffer is None else self.frame_buffer.apply(fn),
            teacher_history=_apply_to_history(self.teacher_history, fn),
        )


def _apply_to_history(history: History | None, fn: Callable[[Tensor], Tensor]) -> History | None:
    return None if history is None else History(tuple(map(fn, history.images)))


@dataclass(frozen=True)
class StepOutput:
    """What the forward pass of a window returns.

    Attributes:
        losses: All losses; see `LossesByOptimizer`.
        state: The state for the next window. A `ClipState`, or one per device group.
        fake: Generated frames (B, T, C, H, W).
        real: The real ones.
        generated: What `WindowForward.visualize` needs, such as a `GeneratedWindow`.
    """

    losses: LossesByOptimizer
    state: Any
    fake: Tensor
    real: Tensor
    generated: Any

    def detach(self) -> StepOutput:
        """Return the output without losses, its images without graph. The state is unchanged."""
        return replace(
            self,
            losses={},
            fake=self.fake.detach(),
            real=self.real.detach(),
            generated=self.generated.apply(torch.detach),
        )


def make_objectives(losses_by_optimizer: LossesByOptimizer) -> dict[str, Tensor]:
    """Return what each optimizer minimizes: G first, then the discriminators that have losses."""
    parts = losses_by_optimizer.values()
    objectives = {"G": sum_losses(loss for part in parts for loss in part.generator.values())}
    for name, part in losses_by_optimizer.items():
        if part.discriminator:
            # As published: half of real and fake. This also halves the R1 penalty.
            objectives[name] = sum_losses(part.discriminator.values()) / 2
    return objectives


class WindowForward(Protocol):
    """The forward pass and all losses of one window: what distinguishes one method from another."""

    def __call__(self, window: Clip, state: Any, settings: EpochSettings) -> StepOutput:
        """Compute the losses of a window. state: of the window before it; None for a clip's first."""

    def visualize(self, window: Clip, output: StepOutput) -> dict[str, np.ndarray]:
        """Return images (H, W, 3) uint8 of the window's last frame, by name, for the training page."""


class LossFunctions(Protocol):
    """Computes the losses of a generated window: `WindowLosses`, or its parallel version."""

    def frame_losses(self, window: GeneratedWindow) -> Losses:
        """Compute the losses that are means over the frames of a window."""

    def face_losses(self, window: GeneratedWindow) -> Losses:
        """Compute the losses of the face, on one square for the whole window."""

    def group_losses(self, groups: FrameGroups, flow: Tensor, scale: int) -> Losses:
        """Compute the losses of one temporal scale's groups."""


@dataclass(frozen=True)
class WindowLosses:
    """The losses of a generated window, by one set of discriminators.

    Attributes:
        netD: Scores single images.
        netD_T: Score frame groups, one network per temporal scale.
        netD_f: Scores the face, or None.
        perceptual_loss: The perceptual distance, or None.
        config: Settings.
    """

    netD: MultiScaleDiscriminator
    netD_T: Sequence[nn.Module]
    netD_f: MultiScaleDiscriminator | None
    perceptual_loss: PerceptualDistance | None
    config: LossConfig

    def frame_losses(self, window: GeneratedWindow) -> Losses:
        """Compute the losses that are means over the frames of a window."""
        real, fakes = window.real, select_scored_images(window.output, self.config)
        losses = compute_image_losses(self.netD, window.condition, real, fakes, self.config)
        losses |= compute_flow_losses(window, self.config)
        if self.perceptual_loss is not None:
            losses |= compute_perceptual_losses(self.perceptual_loss, real, fakes, self.config)
        if window.teacher_images is not None:
            losses |= compute_distillation_losses(self.perceptual_loss, window, self.config)
        return losses

    def face_losses(self, window: GeneratedWindow) -> Losses:
        """Compute the losses of the face, on one square for the whole window."""
        if self.netD_f is None:
            return Losses()
        return compute_face_losses(self.netD_f, window, self.config)

    def group_losses(self, groups: FrameGroups, flow: Tensor, scale: int) -> Losses:
        """Compute the losses of one temporal scale's groups."""
        return compute_temporal_losses(self.netD_T[scale], groups, flow, self.config)


@dataclass(frozen=True)
class ForwardConfig:
    """Settings of the forward pass.

    Attributes:
        conditions: How conditions are encoded.
        temporal: How frames are grouped for the temporal discriminators.
        n_frames_G: tG, frames that the generator sees.
        n_scales: Spatial scales of the generator.
        no_first_img: Whether a clip's history begins with black images instead of real ones.
    """

    conditions: ConditionConfig
    temporal: TemporalConfig
    n_frames_G: int
    n_scales: int = 1
    no_first_img: bool = False

    @property
    def n_history(self) -> int:
        """Return the number of previous frames that the generator sees."""
        return self.n_frames_G - 1


@dataclass(frozen=True)
class Vid2VidForward:
    """The forward pass and all losses of one window of vid2vid.

    Attributes:
        rollout: Runs the generators over the window's frames.
        loss_functions: Computes the losses of a generated window.
        flow_estimator: Estimates the reference flow.
        condition_to_image: Draws a condition (C, H, W), as it was read, as an image.
        config: Settings.
        netE: Encodes instance features, or None.
        teacher: Generators of a trained run for distillation, or None.
    """

    rollout: Rollout
    loss_functions: LossFunctions
    flow_estimator: FlowEstimator
    condition_to_image: Callable[[Tensor], np.ndarray]
    config: ForwardConfig
    netE: Encoder | None = None
    teacher: nn.ModuleList | None = None

    def __call__(
        self, window: Clip, state: ClipState | None, settings: EpochSettings
    ) -> StepOutput:
        """Generate a window and compute its losses.

        Args:
            window: n_history + T frames, on the device of the networks.
            state: State after the window before, None for a clip's first window.
            settings: The epoch's settings.
        """
        state = state or ClipState()
        generated, history, teacher_history = self.generate(window, state, settings)

        new_frames = {
            state.n_generated + t: BufferedFrame(
                real=generated.real[:, t],
                fake=generated.output.image[:, t],
                flow=generated.reference_flow.flow[:, t],
            )
            for t in range(len(generated))
        }
        frame_buffer = state.frame_buffer or FrameBuffer.empty(self.config.temporal)
        groups, frame_buffer = group_frames(frame_buffer, new_frames, self.config.temporal)

        next_state = ClipState(
            history, frame_buffer, teacher_history, state.n_generated + len(generated)
        )
        return StepOutput(
            losses=self.compute_losses(window, generated, groups),
            state=next_state,
            fake=generated.output.image,
            real=generated.real,
            generated=generated,
        )

    def generate(
        self, window: Clip, state: ClipState, settings: EpochSettings
    ) -> tuple[GeneratedWindow, History, History | None]:
        """Generate a window; return it with the histories of generator and teacher after it."""
        assert window.image is not None
        n_history = self.config.n_history
        real, real_prev = window.image[:, n_history:], window.image[:, n_history - 1 : -1]
        is_first = state.history is None

        # The discriminators see the dense conditions of the generated frames. The generator also sees
        # those of the history, with instance features.
        condition = self.config.conditions.encode_dense(window.slice_frames(n_history, len(window)))
        features = None if self.netE is None else encode_feature_maps(self.netE, window)
        # As published: with no_first_img, no frame of a clip's first window is warped; in inference
        # only the first frame of a sequence is not.
        rollout_config = RolloutConfig(
            n_frames_G=self.config.n_frames_G,
            bptt_frames=settings.bptt_frames,
            train_coarse=settings.train_coarse,
            n_no_warp_frames=window.window_size if is_first and self.config.no_first_img else 0,
        )
        history = state.history or self._initial_history(window.image, self.config.n_scales)
        # As published: the frame before the first generated one is the real one, even where the
        # generator's own history begins with black images.
        fake_before_window = real_prev[:, 0] if is_first else history.images[0][:, -1]
        output, history = self.rollout(
            self.config.conditions.encode(window, features), history, rollout_config
        )

        first_frame = state.n_generated
        pairs = [(first_frame + t, first_frame + t - 1) for t in range(real.shape[1])]
        generated = GeneratedWindow(
            condition=condition,
            real=real,
            real_prev=real_prev,
            output=output,
            fake_prev=torch.cat(
                [fake_before_window.unsqueeze(1), output.image[:, :-1]], dim=1
            ).detach(),
            reference_flow=self.estimate_flow(window, pairs, real, real_prev),
        )
        if self.teacher is None:
            return generated, history, None
        teacher_images, teacher_history = self._generate_with_teacher(self.teacher, window, state)
        return replace(generated, teacher_images=teacher_images), history, teacher_history

    def compute_losses(
        self, window: Clip, generated: GeneratedWindow, groups: Sequence[FrameGroups | None]
    ) -> LossesByOptimizer:
        """Compute all losses of a generated window and of the frame groups that it completes."""
        losses = {
            "D": self.loss_functions.frame_losses(generated)
            | self.loss_functions.face_losses(generated)
        }
        for scale, scale_groups in enumerate(groups):
            if scale_groups is None:
                continue
            flow = self.estimate_group_flow(window, scale_groups, scale)
            group_losses = self.loss_functions.group_losses(scale_groups, flow, scale)
            losses[f"D_T{scale}"] = group_losses.with_suffix(scale)
        return losses

    def estimate_group_flow(self, window: Clip, groups: FrameGroups, scale: int) -> Tensor:
        """Return the flow between neighbors of each group, (B, G, tD-1, 2, H, W)."""
        # As published: sparse groups use the flow between consecutive frames at every scale.
        if scale == 0 or self.config.temporal.is_sparse:
            return groups.flow
        pairs = [pair for group in groups.frame_numbers for pair in list_adjacent_pairs(group)]
        current = groups.real[:, :, 1:].flatten(1, 2)
        previous = groups.real[:, :, :-1].flatten(1, 2)
        flow = self.estimate_flow(window, pairs, current, previous).flow
        return flow.unflatten(1, (len(groups.frame_numbers), -1))

    def estimate_flow(
        self,
        window: Clip,
        pairs: Sequence[tuple[int, int]],
        current: Tensor,
        previous: Tensor,
    ) -> FlowEstimate:
        """Return the reference flow of P frame pairs.

        Args:
            window: Holds the flow that data loader workers have already estimated.
            pairs: (current, previous) frame numbers; 0 is the clip's first generated frame, and -1 the
                frame before it.
            current: Images (B, P, 3, H, W).
            previous: Images (B, P, 3, H, W).
        """
        n_history = self.config.n_history
        # Pairs count generated frames; the clip counts from its first history frame.
        clip_pairs = [(n + n_history, n_prev + n_history) for n, n_prev in pairs]
        with torch.autocast(current.device.type, enabled=False):
            return estimate_clip_flow(
                self.flow_estimator, current, previous, window.get_pair_flow(clip_pairs)
            )

    def visualize(self, window: Clip, output: StepOutput) -> dict[str, np.ndarray]:
        """Return images of the first clip's last frame, by name."""
        condition = self.condition_to_image(window.condition[0, -1].cpu())
        return {"condition": condition, **make_visuals(output.generated)}

    def _initial_history(self, images: Tensor, n_scales: int) -> History:
        """Return the history at a clip's start, from the clip's first images."""
        first_images = images[:, : self.config.n_history]
        if self.config.no_first_img:
            first_images = torch.zeros_like(first_images)
        return History.from_first_images(first_images, n_scales)

    def _generate_with_teacher(
        self, teacher: nn.ModuleList, window: Clip, state: ClipState
    ) -> tuple[Tensor, History]:
        assert window.image is not None
        is_first = state.teacher_history is None
        history = state.teacher_history or self._initial_history(window.image, len(teacher))
        n_no_warp_frames = window.window_size if is_first and self.config.no_first_img else 0
        return generate_teacher_images(
            teacher,
            self.config.conditions.encode(window),
            history,
            RolloutConfig(self.config.n_frames_G, n_no_warp_frames=n_no_warp_frames),
        )
