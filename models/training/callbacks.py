"""What happens between training steps: logging, checkpoints, evaluation, warnings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.checkpoint import save_weights
from models.losses.vid2vid import LossConfig
from models.networks.collection import Vid2VidModels
from models.training.divergence import DivergenceMonitor, compute_health_indicators
from models.training.forward import StepOutput, WindowForward
from models.training.resume import RunState, prune_epochs
from util.clip import Clip
from util.run_logger import RunLogger


@dataclass(frozen=True)
class StepResult:
    """The result of the last window of a clip.

    Attributes:
        losses: Losses by name, before the optimizer step.
        pixel_std: Standard deviation of generated and of real pixels.
        window: The window's input.
        output: The window's output, without graph and losses.
        seconds: Time that the clip took, its loading included.
    """

    losses: dict[str, float]
    pixel_std: Sequence[float]
    window: Clip
    output: StepOutput
    seconds: float = 0.0


# Called after every step, and after every epoch, with the state of the run.
StepCallback = Callable[[RunState, StepResult], None]
EpochCallback = Callable[[RunState], RunState]


def format_progress(losses: Mapping[str, float]) -> dict[str, str]:
    """Return the losses that the progress bar displays."""
    displayed = ("G_GAN", "G_GAN_Feat", "D_real", "G_Labels")
    return {name: f"{losses[name]:.2f}" for name in displayed if name in losses}


@dataclass(frozen=True)
class ClipCounter:
    """Counts clips since the run began."""

    steps_per_epoch: int

    def count(self, run: RunState) -> int:
        """Return the number of clips trained so far."""
        return (run.epoch - 1) * self.steps_per_epoch * run.batch_size + run.n_epoch_clips

    def is_due(self, run: RunState, every: int) -> bool:
        """Return whether something that happens every so many clips is due.

        As published, it is due when both the frequency and the batch size divide the count.
        """
        return self.count(run) % math.lcm(every, run.batch_size) == 0


@dataclass(frozen=True)
class LogLosses:
    """Writes losses to the logs every `print_freq` clips."""

    logger: RunLogger
    counter: ClipCounter
    print_freq: int

    def __call__(self, run: RunState, result: StepResult) -> None:
        """Log the losses if they are due."""
        if self.counter.is_due(run, self.print_freq):
            self.logger.log_losses(
                run.epoch,
                run.n_epoch_clips,
                self.counter.count(run),
                result.seconds / run.batch_size,
                result.losses,
            )


@dataclass(frozen=True)
class LogImages:
    """Writes images to the training page and TensorBoard every `display_freq` clips."""

    logger: RunLogger
    counter: ClipCounter
    display_freq: int
    forward: WindowForward

    def __call__(self, run: RunState, result: StepResult) -> None:
        """Log the images if they are due."""
        if self.counter.is_due(run, self.display_freq):
            images = self.forward.visualize(result.window, result.output)
            self.logger.log_images(run.epoch, self.counter.count(run), images)


@dataclass(frozen=True)
class WarnOfDivergence:
    """Warns when the run no longer learns."""

    logger: RunLogger
    loss_config: LossConfig
    monitor: DivergenceMonitor = field(default_factory=DivergenceMonitor)

    def __call__(self, run: RunState, result: StepResult) -> None:
        """Update the monitor and log its warnings."""
        indicators = compute_health_indicators(result.losses, result.pixel_std, self.loss_config)
        for message in self.monitor.update(indicators):
            self.logger.log_warning(run.epoch, run.n_epoch_clips, message)


@dataclass(frozen=True)
class SaveLatest:
    """Saves a checkpoint every `save_latest_freq` clips."""

    save: Callable[[RunState], None]
    counter: ClipCounter
    save_latest_freq: int

    def __call__(self, run: RunState, result: StepResult) -> None:
        """Save the checkpoint if it is due."""
        if self.counter.is_due(run, self.save_latest_freq):
            self.save(run)


@dataclass(frozen=True)
class SaveEpoch:
    """Saves the weights under the epoch's number, and a checkpoint, every `save_epoch_freq` epochs.

    Attributes:
        save: Saves a checkpoint.
        folder: The run's folder.
        networks: The networks.
        save_epoch_freq: In epochs.
        max_kept_epochs: Number of epochs whose weights are kept; None for all.
    """

    save: Callable[[RunState], None]
    folder: Path
    networks: Vid2VidModels
    save_epoch_freq: int
    max_kept_epochs: int | None

    def __call__(self, run: RunState) -> RunState:
        """Save the epoch if it is due."""
        if run.epoch % self.save_epoch_freq == 0:
            save_weights(self.folder, str(run.epoch), self.networks)
            if self.max_kept_epochs is not None:
                prune_epochs(self.folder, self.max_kept_epochs)
            self.save(replace(run, epoch=run.epoch + 1, step=0))
        return run


@dataclass(frozen=True)
class Evaluate:
    """Evaluates the networks on held-out clips every `eval_freq` epochs and keeps the best weights.

    Attributes:
        evaluate: Computes the metrics. All processes call it.
        monitored_metric: The metric that decides which weights are best; higher is better.
        eval_freq: In epochs.
        folder: The run's folder, where `best` weights are saved; None in other processes.
        networks: The networks.
        logger: None in other processes.
        counter: Counts clips.
    """

    evaluate: Callable[[], Mapping[str, float]]
    monitored_metric: str
    eval_freq: int
    folder: Path | None
    networks: Vid2VidModels
    logger: RunLogger | None
    counter: ClipCounter

    def __call__(self, run: RunState) -> RunState:
        """Evaluate if it is due; return the run with its best metric."""
        if run.epoch % self.eval_freq:
            return run
        metrics = self.evaluate()
        if self.logger is not None:
            self.logger.log_metrics(run.epoch, self.counter.count(run), metrics)
        metric = metrics[self.monitored_metric]
        if metric <= run.best:
            return run
        if self.folder is not None:
            save_weights(self.folder, "best", self.networks)
        return replace(run, best=metric)
