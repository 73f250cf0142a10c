"""Training, to be read from top to bottom: run, clip, window, step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.checkpoint import save_weights
from models.flow.estimator import estimate_clip_flow
from models.inference.instance_features import encode_feature_maps
from models.losses.distillation import generate_teacher_images
from models.losses.temporal_groups import (
    BufferedFrame,
    FrameBuffer,
    FrameGroups,
    TemporalConfig,
    group_frames,
    list_adjacent_pairs,
)
from models.losses.vid2vid import (
    GeneratedWindow,
    LossConfig,
    Losses,
    average_losses,
    compute_face_losses,
    compute_temporal_losses,
    sum_losses,
)
from models.networks.collection import Vid2VidModels, optimizer_name, set_learning_rates
from models.networks.input_encoding import ConditionConfig, pad_clip
from models.networks.rollout import History, RolloutConfig, rollout_across_devices
from models.training.device_groups import (
    BatchShard,
    ClipState,
    DeviceGroupModels,
    ParallelModels,
    compute_frame_losses,
)
from models.training.divergence import (
    DivergenceMonitor,
    compute_health_indicators,
    compute_pixel_std,
)
from models.training.non_finite import (
    NonFiniteError,
    check_finite_gradients,
    reduce_and_check_losses,
)
from models.training.replay import StepSnapshot, save_snapshot
from models.training.resume import RunState, prune_epochs, save_latest
from models.training.schedule import EpochSettings, ScheduleConfig, compute_epoch_settings
from models.training.visuals import make_visuals
from util.clip import Clip, FlowEstimate
from util.distributed import DeviceSetup
from util.distributed.optimizer import AmpOptimizer
from util.errors import UserError
from util.run_logger import RunLogger

LossesByOptimizer = dict[
    str, Losses
]  # "D" (single images, motion, faces), "D_T0", ...: what was computed beside each
_PROGRESS_BAR_LOSSES = (
    "G_GAN",
    "G_GAN_Feat",
    "D_real",
    "G_Labels",
)  # losses beside the progress bar, of those that there are


@dataclass(frozen=True)
class TrainerConfig:
    """steps_per_epoch: batches. begin_with_zeros: `no_first_img`, the network paints the first images itself.
    save_latest_freq, print_freq, display_freq: in clips; save_epoch_freq, eval_freq: in epochs. keep: epochs whose
    weights stay, None for all. ema: half-life of the averaged generator in steps, None for none."""

    conditions: ConditionConfig
    losses: LossConfig
    temporal: TemporalConfig
    schedule: ScheduleConfig
    steps_per_epoch: int
    no_first_img: bool
    size_multiple: int
    folder: Path
    options: Mapping[str, str]
    print_freq: int = 100
    display_freq: int = 100
    save_latest_freq: int = 1000
    save_epoch_freq: int = 1
    max_kept_epochs: int | None = None
    eval_freq: int = 0
    ema_half_life: float | None = None


@dataclass(frozen=True)
class StepOutput:
    """What a team makes of a window: how it looks, its terms before the step, and what the next window needs."""

    window: GeneratedWindow
    losses: LossesByOptimizer
    state: ClipState


@dataclass(frozen=True)
class TrainStepResult:
    """Of one window: its losses before its step, how far its pixels spread (see `spreads`), and what its first clip
    looked like."""

    losses: dict[str, float]
    pixel_std: Sequence[float]
    clip: Clip
    window: GeneratedWindow


@dataclass(frozen=True)
class Trainer:
    """journal: None in processes that do not lead. show: a condition (C, H, W), as read, as an image. evaluate:
    figures of the networks as they stand, `best_by` among them, on held-out clips; None with eval_freq 0. stop: set by
    whoever wants the run to save and end after its step."""

    networks: Vid2VidModels
    optimizers: dict[str, AmpOptimizer]
    parallel_models: ParallelModels
    device_setup: DeviceSetup
    config: TrainerConfig
    logger: RunLogger | None
    condition_to_image: Callable[[Tensor], np.ndarray]
    evaluate: Callable[[], Mapping[str, float]] | None = None
    stop_event: Event = field(default_factory=Event)
    divergence_monitor: DivergenceMonitor = field(default_factory=DivergenceMonitor)
    monitored_metric: ClassVar[str] = (
        "ssim"  # the figure, the higher the better, by which weights are the best so far
    )

    # the run

    def fit(self, clips: Iterator[Clip], run: RunState) -> RunState:
        """Trains from `run` to the last epoch, or until `stop`; returns where the run then stands, saved.
        clips: the batches from there on, in order."""
        while run.epoch <= self.config.schedule.last_epoch and not self.should_stop():
            phase = compute_epoch_settings(run.epoch, self.config.schedule)
            set_learning_rates(self.optimizers, phase.lr_factor)
            run = self.train_epoch(clips, run, phase)
            if run.step >= self.config.steps_per_epoch:
                run = self.end_epoch(run)
        self.save_checkpoint(run)
        return run

    def end_epoch(self, run: RunState) -> RunState:
        """Its figures, weights and state, as far as it is their turn; the start of the next."""
        if self.evaluate is not None and run.epoch % self.config.eval_freq == 0:
            run = self.log_metrics_and_save_best(run, self.evaluate())
        following = replace(run, epoch=run.epoch + 1, step=0)
        if run.epoch % self.config.save_epoch_freq == 0:
            self.save_checkpoint(following, str(run.epoch))
        return following

    def should_stop(self) -> bool:
        """All processes stop after the same step, whichever was asked."""
        return self.device_setup.process_group.any_rank(
            self.stop_event.is_set(), self.device_setup.device
        )

    def train_epoch(
        self, clips: Iterator[Clip], run: RunState, settings: EpochSettings
    ) -> RunState:
        """The rest of an epoch, batch by batch, as far as `stop` lets it; returns where the run then stands."""
        steps = self.config.steps_per_epoch
        with tqdm(
            total=steps,
            initial=run.step,
            desc=f"epoch {run.epoch}/{self.config.schedule.last_epoch}",
            unit="batch",
            dynamic_ncols=True,
            disable=self.logger is None,
        ) as bar:
            for step in range(run.step, steps):
                if self.should_stop():
                    break
                began = time.perf_counter()
                trained = self.train_clip(next(clips), settings)
                run = replace(run, step=step + 1)
                self.log_step(run, trained, (time.perf_counter() - began) / run.batch_size)
                bar.set_postfix(
                    {
                        name: f"{trained.losses[name]:.2f}"
                        for name in _PROGRESS_BAR_LOSSES
                        if name in trained.losses
                    }
                )
                bar.update()
                if self.is_due(run, self.config.save_latest_freq):
                    self.save_checkpoint(run)
        return run

    def dry_run(self, batch: Clip) -> str:
        """`--dry_run`: all windows of a batch of the run's longest clips, and what they cost, in words."""
        began = time.perf_counter()
        self.train_clip(
            batch, compute_epoch_settings(self.config.schedule.last_epoch, self.config.schedule)
        )
        seconds, windows = (
            time.perf_counter() - began,
            (len(batch) - self.config.schedule.n_frames_G + 1) // batch.window_size,
        )
        peaks = ", ".join(
            f"{device} {gib:.2f} GiB"
            for device, gib in self.device_setup.measure_peak_memory().items()
        )
        height, width = batch.condition.shape[-2:]
        return (
            f"dry run: {windows} steps of {batch.window_size} frames, {len(batch.names)} clips, {width}x{height}: "
            f"{seconds / windows:.2f} s a step, peak memory {peaks}; nothing was saved"
        )

    # a clip

    def train_clip(self, batch: Clip, settings: EpochSettings) -> TrainStepResult:
        """All windows of a batch of clips, each followed by a step; every team keeps the past of its own clips."""
        batch = pad_clip(batch, self.config.size_multiple)
        shares = self.parallel_models.split_batch(batch)
        pasts = [ClipState(None, FrameBuffer.empty(self.config.temporal)) for _ in shares]
        windows = zip(
            *(share.clip.split_into_windows(self.config.schedule.n_frames_G) for share in shares),
            strict=True,
        )
        for number, parts in enumerate(windows):
            start = number * batch.window_size
            try:
                trained, pasts = self.train_window(shares, parts, start, settings, pasts)
            except NonFiniteError as fault:
                raise self.build_non_finite_error(
                    fault,
                    parts,
                    StepSnapshot(settings.epoch, start, batch, ClipState.concatenate(pasts)),
                ) from None
        return trained

    def train_window(
        self,
        shards: Sequence[BatchShard],
        windows: Sequence[Clip],
        start: int,
        settings: EpochSettings,
        states: Sequence[ClipState],
    ) -> tuple[TrainStepResult, list[ClipState]]:
        """windows: of each share's clips. start: number of the window's first generated frame in the clip."""
        self.parallel_models.replicas.broadcast_parameters()
        seen = [
            self.forward_and_losses(share, window, start, settings, past)
            for share, window, past in zip(shards, windows, states, strict=True)
        ]
        players = {
            player: average_losses(
                [
                    (part.losses[player], share.weight)
                    for part, share in zip(seen, shards, strict=True)
                ],
                self.device_setup.device,
            )
            for player in seen[0].losses
        }
        losses, spread = self.update_weights(players, compute_pixel_std(seen[0].window), settings)
        return TrainStepResult(losses, spread, windows[0], seen[0].window), [
            part.state for part in seen
        ]

    # a window

    def forward_and_losses(
        self, shard: BatchShard, window: Clip, start: int, settings: EpochSettings, state: ClipState
    ) -> StepOutput:
        """What a team makes of its clips."""
        team, clip = shard.group_models, shard.clip
        with self.device_setup.precision.autocast():
            window = window.to(team.device)
            view, history = self.generate(team, clip, window, start, settings, state.history)
            view, taught = self.add_teacher_images(team, window, view, state.teacher_history)
            new = {
                start + i: BufferedFrame(
                    view.real[:, i], view.output.image[:, i], view.reference_flow.flow[:, i]
                )
                for i in range(clip.window_size)
            }
            groups, memory = group_frames(state.frame_buffer, new, self.config.temporal)
            return StepOutput(
                view,
                self.compute_losses(team, clip, view, groups),
                ClipState(history, memory, taught),
            )

    def generate(
        self,
        group_models: DeviceGroupModels,
        clip: Clip,
        window: Clip,
        start: int,
        settings: EpochSettings,
        history: History | None,
    ) -> tuple[GeneratedWindow, History]:
        """The window as the generators paint it, beside the real one and how that moved."""
        real, past = window.image, self.config.schedule.n_frames_G - 1
        assert real is not None
        condition = self.config.conditions.encode_dense(window.slice_frames(past, len(window)))
        first = history is None
        history = history or self.build_initial_history(real, len(self.networks.netG))
        newest = real[:, past - 1] if first else history.images[0][:, -1]
        features = (
            None
            if group_models.encoder is None
            else encode_feature_maps(group_models.encoder, window)
        )
        seen = self.config.conditions.encode(window, features)
        frames, history = rollout_across_devices(
            group_models.generators,
            seen,
            history,
            RolloutConfig(
                n_frames_G=past + 1,
                bptt_frames=settings.bptt_frames,
                train_coarse=settings.train_coarse,
                n_no_warp_frames=clip.window_size if first and self.config.no_first_img else 0,
            ),
        )
        view = GeneratedWindow(
            condition=condition,
            real=real[:, past:],
            real_prev=real[:, past - 1 : -1],
            output=frames,
            fake_prev=torch.cat([newest.unsqueeze(1), frames.image[:, :-1]], dim=1).detach(),
            reference_flow=self.estimate_flow(
                group_models,
                clip,
                [(n, n - 1) for n in range(start, start + clip.window_size)],
                real[:, past:],
                real[:, past - 1 : -1],
            ),
        )
        return view, history

    def build_initial_history(self, real: Tensor, n_scales: int) -> History:
        """What comes before a clip's first window, of its real images."""
        first = real[:, : self.config.schedule.n_frames_G - 1]
        return History.from_first_images(
            torch.zeros_like(first) if self.config.no_first_img else first, n_scales
        )

    def add_teacher_images(
        self,
        group_models: DeviceGroupModels,
        window: Clip,
        generated: GeneratedWindow,
        history: History | None,
    ) -> tuple[GeneratedWindow, History | None]:
        """The window with the teacher's images, from those that it painted before; without a teacher as it is."""
        if group_models.teacher is None:
            return generated, None
        assert window.image is not None
        raw_first = len(generated) if history is None and self.config.no_first_img else 0
        taught, history = generate_teacher_images(
            group_models.teacher,
            self.config.conditions.encode(window),
            history or self.build_initial_history(window.image, len(group_models.teacher)),
            RolloutConfig(self.config.schedule.n_frames_G, n_no_warp_frames=raw_first),
        )
        return replace(generated, teacher_images=taught), history

    def estimate_flow(
        self,
        group_models: DeviceGroupModels,
        clip: Clip,
        pairs: list[tuple[int, int]],
        current: Tensor,
        previous: Tensor,
    ) -> FlowEstimate:
        """Reference flow of (B, P, 3, H, W) images, the loader's where it has it. pairs: of generated frames."""
        past = self.config.schedule.n_frames_G - 1
        known = clip.get_pair_flow([(a + past, b + past) for a, b in pairs])
        with self.device_setup.precision.autocast_disabled():
            return estimate_clip_flow(group_models.flow_estimator, current, previous, known)

    def compute_losses(
        self,
        group_models: DeviceGroupModels,
        clip: Clip,
        window: GeneratedWindow,
        groups: list[FrameGroups | None],
    ) -> LossesByOptimizer:
        """All terms of the window, none of them stepped on yet."""
        config = self.config.losses
        terms = average_losses(
            [
                (compute_frame_losses(judge, part, config), share)
                for judge, part, share in group_models.scatter_frames(window)
            ],
            group_models.device,
        )
        if (
            face := group_models.discriminators[0].networks.netD_f
        ) is not None:  # one box for the whole window
            terms |= compute_face_losses(
                face, window.to(group_models.discriminators[0].device), config
            ).to(group_models.device)
        found = {scale: group for scale, group in enumerate(groups) if group is not None}
        return {"D": terms} | {
            f"D_T{scale}": self.compute_temporal_scale_losses(
                group_models, clip, group, scale
            ).with_suffix(scale)
            for scale, group in found.items()
        }

    def compute_temporal_scale_losses(
        self, group_models: DeviceGroupModels, clip: Clip, groups: FrameGroups, scale: int
    ) -> Losses:
        """The terms of one temporal scale."""
        flow = self.estimate_group_flow(group_models, clip, groups, scale)
        return average_losses(
            [
                (
                    compute_temporal_losses(
                        judge.networks.netD_T[scale], part, motion, self.config.losses
                    ),
                    share,
                )
                for judge, part, motion, share in group_models.scatter_frame_groups(
                    groups, flow, scale
                )
            ],
            group_models.device,
        )

    def estimate_group_flow(
        self, group_models: DeviceGroupModels, clip: Clip, groups: FrameGroups, scale: int
    ) -> Tensor:
        """Flow inside temporal groups (B, G, tD-1, 2, H, W): each frame's own, or, where dense groups stride, anew."""
        if scale == 0 or self.config.temporal.is_sparse:
            return groups.flow
        pairs = [pair for group in groups.frame_numbers for pair in list_adjacent_pairs(group)]
        current, previous = (
            part.flatten(1, 2) for part in (groups.real[:, :, 1:], groups.real[:, :, :-1])
        )
        flow = self.estimate_flow(group_models, clip, pairs, current, previous).flow
        return flow.unflatten(1, (len(groups.frame_numbers), -1))

    # a step

    def update_weights(
        self, losses_by_optimizer: LossesByOptimizer, extra_scalars: Tensor, settings: EpochSettings
    ) -> tuple[dict[str, float], list[float]]:
        """One step of G, D and every D_T that had groups, on gradients computed before any of them moved; returns what
        `checked_losses` does. NotFinite: no step was made."""
        losses, told = reduce_and_check_losses(
            losses_by_optimizer, extra_scalars, self.device_setup.process_group
        )
        self.backward(
            "G",
            sum_losses(
                t for terms in losses_by_optimizer.values() for t in terms.generator.values()
            ),
            settings,
        )
        judges = {
            player: terms.discriminator
            for player, terms in losses_by_optimizer.items()
            if terms.discriminator
        }
        for player, losing in judges.items():
            self.backward(player, sum_losses(losing.values()) / 2, settings)
        if not self.device_setup.precision.uses_grad_scaler:
            check_finite_gradients(self.networks, losses)
        for player in ("G", *judges):
            self.optimizers[player].step()
        self.parallel_models.replicas.sync_buffers()
        if self.config.ema_half_life is not None:
            self.networks.update_ema(self.config.ema_half_life)
        return losses, told

    def backward(self, optimizer_key: str, loss: Tensor, settings: EpochSettings) -> None:
        """Gradients to the weights of one player alone, though the graph holds them all; home from every replica and
        process."""
        optimizer, replicas = self.optimizers[optimizer_key], self.parallel_models.replicas
        names = [
            name
            for name in self.networks.named_trainable_networks()
            if optimizer_name(name) == optimizer_key
        ]
        if optimizer_key == "G" and not settings.train_coarse:
            names = [f"G{len(self.networks.netG) - 1}"]
        optimizer.zero_grad()
        optimizer.backward(loss, [weight for name in names for weight in replicas.parameters(name)])
        replicas.reduce_gradients(names)
        self.device_setup.process_group.all_reduce_gradients(
            [replicas.primaries[name] for name in names]
        )
        optimizer.unscale()

    # what people see

    def log_step(self, run: RunState, result: TrainStepResult, seconds: float) -> None:
        """Warnings, and losses and images when their turn has come; one process tells for all."""
        if self.logger is None:
            return
        for line in self.divergence_monitor.update(
            compute_health_indicators(result.losses, result.pixel_std, self.config.losses)
        ):
            self.logger.log_warning(run.epoch, run.n_epoch_clips, line)
        if self.is_due(run, self.config.print_freq):
            self.logger.log_losses(
                run.epoch, run.n_epoch_clips, self.count_total_clips(run), seconds, result.losses
            )
        if self.is_due(run, self.config.display_freq):
            self.logger.log_images(
                run.epoch, self.count_total_clips(run), self.make_display_images(result)
            )

    def make_display_images(self, result: TrainStepResult) -> dict[str, np.ndarray]:
        return {
            "condition": self.condition_to_image(result.clip.condition[0, -1].cpu()),
            **make_visuals(result.window),
        }

    def log_metrics_and_save_best(self, run: RunState, metrics: Mapping[str, float]) -> RunState:
        """Tells how good the networks are on held-out clips, and keeps them as `best` where they never were better."""
        if self.logger is not None:
            self.logger.log_metrics(run.epoch, self.count_total_clips(run), metrics)
        if metrics[self.monitored_metric] <= run.best:
            return run
        if self.device_setup.process_group.is_main_process:
            save_weights(self.config.folder, "best", self.networks)
        return replace(run, best=metrics[self.monitored_metric])

    def count_total_clips(self, run: RunState) -> int:
        """Since the run began."""
        return (run.epoch - 1) * self.config.steps_per_epoch * run.batch_size + run.n_epoch_clips

    def is_due(self, run: RunState, every: int) -> bool:
        return self.count_total_clips(run) % math.lcm(every, run.batch_size) == 0

    def save_checkpoint(self, run: RunState, epoch: str | None = None) -> None:
        """The state to go on from; the weights under the name of an epoch too."""
        if not self.device_setup.process_group.is_main_process:
            return
        if epoch is not None:
            save_weights(self.config.folder, epoch, self.networks)
            if self.config.max_kept_epochs is not None:
                prune_epochs(self.config.folder, self.config.max_kept_epochs)
        save_latest(self.config.folder, self.networks, self.optimizers, run, self.config.options)

    def build_non_finite_error(
        self, error: NonFiniteError, windows: Sequence[Clip], snapshot: StepSnapshot
    ) -> UserError:
        """What to tell, once everything that the step was computed from is kept."""
        path = self.config.folder / "not_finite.pth"
        if self.device_setup.process_group.is_main_process:
            save_snapshot(path, snapshot, self.networks, self.config.options)
        frames = "; ".join(", ".join(names) for window in windows for names in window.names)
        return UserError(
            f"training stopped before the step: {error}, on {frames}: look at these frames, repeat the "
            f"step with the same flags and --debug_replay {path}, or go on from the last save "
            "(--continue_train) with a smaller --lr"
        )
