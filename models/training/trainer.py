"""The training loop: epochs, clips, windows, optimizer steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from tqdm import tqdm

from models.networks.collection import Vid2VidModels, optimizer_name
from models.networks.input_encoding import pad_clip
from models.training.callbacks import EpochCallback, StepCallback, StepResult, format_progress
from models.training.device_groups import ParallelForward, join_states
from models.training.divergence import compute_pixel_std
from models.training.ema import update_ema
from models.training.forward import ClipState, StepOutput, make_objectives
from models.training.non_finite import (
    NonFiniteError,
    check_finite_gradients,
    reduce_and_check_losses,
)
from models.training.resume import RunState
from models.training.schedule import (
    EpochSettings,
    ScheduleConfig,
    compute_epoch_settings,
    set_learning_rates,
)
from models.training.snapshot import SNAPSHOT_FILE, explain_non_finite, save_snapshot
from util.clip import Clip
from util.distributed import DeviceSetup
from util.distributed.optimizer import AmpOptimizer
from util.errors import UserError


@dataclass(frozen=True)
class TrainerConfig:
    """Settings of the training loop.

    Attributes:
        schedule: What changes from epoch to epoch.
        steps_per_epoch: Batches of an epoch.
        size_multiple: Height and width of the clips are padded to a multiple of this.
        folder: The run's folder.
        options: The run's flags, kept with every checkpoint.
        ema_half_life: Half-life of the generator's running average, in windows; None turns it off.
    """

    schedule: ScheduleConfig
    steps_per_epoch: int
    size_multiple: int
    folder: Path
    options: Mapping[str, str]
    ema_half_life: float | None = None


@dataclass(frozen=True)
class Trainer:
    """Trains networks on a stream of clips.

    Attributes:
        networks: The networks; optimizers update these.
        optimizers: "G", "D", "D_T0", ... (`optimizer_name`).
        forward: Forward pass and losses of one window, on all device groups.
        device_setup: Devices, processes and precision.
        config: Settings.
        save: Saves a checkpoint of the run.
        step_callbacks: Called after every batch.
        epoch_callbacks: Called after every epoch.
        stop_event: When it is set, the run is saved and ends after the current batch.
    """

    networks: Vid2VidModels
    optimizers: dict[str, AmpOptimizer]
    forward: ParallelForward
    device_setup: DeviceSetup
    config: TrainerConfig
    save: Callable[[RunState], None]
    step_callbacks: Sequence[StepCallback] = ()
    epoch_callbacks: Sequence[EpochCallback] = ()
    stop_event: Event = field(default_factory=Event)

    def fit(self, clips: Iterator[Clip], run: RunState) -> RunState:
        """Train from `run` to the last epoch or a requested stop; save and return the run.

        clips: The batches from `run` on, in order.
        """
        while run.epoch <= self.config.schedule.last_epoch and not self.should_stop():
            settings = compute_epoch_settings(run.epoch, self.config.schedule)
            set_learning_rates(self.optimizers, settings.lr_factor)
            run = self.train_epoch(clips, run, settings)
            if run.step < self.config.steps_per_epoch:
                break
            for callback in self.epoch_callbacks:
                run = callback(run)
            run = replace(run, epoch=run.epoch + 1, step=0)
        self.save(run)
        return run

    def train_epoch(
        self, clips: Iterator[Clip], run: RunState, settings: EpochSettings
    ) -> RunState:
        """Train on the rest of an epoch, or until a stop is requested; return the run."""
        with tqdm(
            total=self.config.steps_per_epoch,
            initial=run.step,
            desc=f"epoch {run.epoch}/{self.config.schedule.last_epoch}",
            unit="batch",
            dynamic_ncols=True,
            disable=not self.step_callbacks,  # only the main process has some
        ) as bar:
            while run.step < self.config.steps_per_epoch and not self.should_stop():
                start_time = time.perf_counter()
                result = self.train_clip(next(clips), settings)
                result = replace(result, seconds=time.perf_counter() - start_time)
                run = replace(run, step=run.step + 1)
                for callback in self.step_callbacks:
                    callback(run, result)
                bar.set_postfix(format_progress(result.losses))
                bar.update()
        return run

    def train_clip(self, clip: Clip, settings: EpochSettings) -> StepResult:
        """Train on a batch of clips, one optimizer step per window; return the last window's result."""
        clip = pad_clip(clip, self.config.size_multiple)
        state = None
        for window in clip.split_into_windows(self.config.schedule.n_frames_G):
            try:
                output = self.forward(window, state, settings)
                losses, pixel_std = self.optimize(output, settings)
            except NonFiniteError as error:
                raise self.explain_failure(error, clip, window, state, settings) from None
            # Without its graph, a window's memory is free before the next window begins.
            state = output.state
            result = StepResult(losses, pixel_std, window, output.detach())
            del output
        return result

    def optimize(
        self, output: StepOutput, settings: EpochSettings
    ) -> tuple[dict[str, float], list[float]]:
        """Compute all gradients first, then step G, D and every D_T that has losses.

        Returns the losses by name, and the standard deviation of generated and real pixels.
        Raises NonFiniteError before any step if a loss or gradient is not finite.
        """
        losses, pixel_std = reduce_and_check_losses(
            output.losses,
            compute_pixel_std(output.fake, output.real),
            self.device_setup.process_group,
        )
        objectives = make_objectives(output.losses)
        for name, objective in objectives.items():
            networks = self.select_networks(name, settings)
            self.forward.backward(objective, self.optimizers[name], networks)

        # With gradient scaling, AmpOptimizer skips steps that overflow.
        if not self.device_setup.precision.uses_grad_scaler:
            check_finite_gradients(self.networks, losses)
        for name in objectives:
            self.optimizers[name].step()
        self.forward.replicas.sync_buffers()
        if self.config.ema_half_life is not None:
            update_ema(self.networks, self.config.ema_half_life)
        return losses, pixel_std

    def select_networks(self, name: str, settings: EpochSettings) -> list[str]:
        """Return the names of the networks that an optimizer updates in this epoch.

        While the coarse generators are fixed, "G" updates the finest generator only, without netE.
        """
        if name == "G" and not settings.train_coarse:
            return [f"G{len(self.networks.netG) - 1}"]
        networks = self.networks.named_trainable_networks()
        return [network for network in networks if optimizer_name(network) == name]

    def explain_failure(
        self,
        error: NonFiniteError,
        clip: Clip,
        window: Clip,
        states: Sequence[ClipState] | None,
        settings: EpochSettings,
    ) -> UserError:
        """Save what a failed window was computed from; return the error to raise."""
        folder = self.config.folder
        if self.device_setup.process_group.is_main_process:
            state = join_states(states or [ClipState()])
            save_snapshot(folder, settings.epoch, clip, state, self.networks, self.config.options)
        return explain_non_finite(error, window, folder / SNAPSHOT_FILE)

    def should_stop(self) -> bool:
        """Return whether any process was asked to stop, so that all stop after the same step."""
        return self.device_setup.process_group.any_rank(
            self.stop_event.is_set(), self.device_setup.device
        )
