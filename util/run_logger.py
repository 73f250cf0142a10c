"""Loggers of a training run: text files, TensorBoard and the training page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from tqdm import tqdm

from util.pages.training import TrainingPage


class NullLogger:
    """A logger that discards everything; the base class of loggers of scalars and images."""

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values by name."""

    def log_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Log (H, W, 3) uint8 images by name."""


class TensorBoardLogger(NullLogger):
    """TensorBoard event files in a folder, flushed after each call in case the run is killed."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, rarely needed

        self._writer = SummaryWriter(str(folder))

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def log_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, image in images.items():
            self._writer.add_image(name, image, step, dataformats="HWC")
        self._writer.flush()


@dataclass(frozen=True)
class RunLogger:
    """The logs of one training run.

    Attributes:
        folder: Folder of the run. Text logs in it: `loss_log.txt` (losses), `warnings.txt`
            (signs of divergence) and `eval_log.txt` (metrics of held-out clips).
        tensorboard: TensorBoard logger, or `NullLogger` without `--tf_log`.
        page: Training page, None with `--no_html`.
    """

    folder: Path
    tensorboard: NullLogger
    page: TrainingPage | None

    def log_start(self) -> None:
        """Append a header with date and time to loss_log.txt; it separates restarts of a run."""
        started = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        self._append("loss_log.txt", f"================ started {started} ================")

    def log_losses(
        self,
        epoch: int,
        epoch_clips: int,
        total_clips: int,
        seconds_per_clip: float,
        losses: Mapping[str, float],
    ) -> None:
        """Log losses by name.

        Args:
            epoch: Current epoch.
            epoch_clips: Clips trained in this epoch.
            total_clips: Clips trained since the start of the run.
            seconds_per_clip: Training time per clip.
            losses: Loss values by name.
        """
        line = format_loss_line(epoch, epoch_clips, seconds_per_clip, losses)
        self._append("loss_log.txt", line)
        self.tensorboard.log_scalars(total_clips, losses)

    def log_warning(self, epoch: int, epoch_clips: int, message: str) -> None:
        """Print a warning on stderr and append it to warnings.txt."""
        tqdm.write(f"warning: {message}", file=sys.stderr)
        self._append("warnings.txt", f"(epoch: {epoch}, iters: {epoch_clips}) {message}")

    def log_metrics(self, epoch: int, total_clips: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of held-out clips to eval_log.txt and TensorBoard."""
        values = [f"{name}: {value:.5g}" for name, value in metrics.items()]
        line = " ".join([f"(epoch: {epoch}, clips: {total_clips})", *values])
        self._append("eval_log.txt", line)
        scalars = {f"held_out/{name}": value for name, value in metrics.items()}
        self.tensorboard.log_scalars(total_clips, scalars)

    def log_images(self, epoch: int, total_clips: int, images: Mapping[str, np.ndarray]) -> None:
        """Log (H, W, 3) uint8 images by name to TensorBoard and the training page."""
        self.tensorboard.log_images(total_clips, images)
        if self.page is not None:
            self.page.add_entry(epoch, total_clips, images)

    def _append(self, file_name: str, line: str) -> None:
        """Append a line and close the file, so that a killed run keeps its lines."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / file_name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def format_loss_line(
    epoch: int, iters: int, seconds_per_clip: float, losses: Mapping[str, float]
) -> str:
    """Format a line of loss_log.txt: losses sorted by name, 3 decimals, without exact zeros.

    Args:
        epoch: Current epoch.
        iters: Clips trained in this epoch.
        seconds_per_clip: Training time per clip.
        losses: Loss values by name.
    """
    values = [f"{name}: {value:.3f}" for name, value in sorted(losses.items()) if value != 0]
    return " ".join([f"(epoch: {epoch}, iters: {iters}, time: {seconds_per_clip:.3f})", *values])


def open_run_logger(
    folder: Path, name: str, image_width: int, uses_html: bool, uses_tensorboard: bool
) -> RunLogger:
    """Open the logs of a run and write the header of this start.

    Args:
        folder: Folder of the run.
        name: Name of the run, the title of its page.
        image_width: Width of an image on the page, in pixels (`--display_winsize`).
        uses_html: Whether to write the training page.
        uses_tensorboard: Whether to write TensorBoard event files.
    """
    tensorboard = TensorBoardLogger(folder / "logs") if uses_tensorboard else NullLogger()
    page = TrainingPage(folder / "web", name, image_width) if uses_html else None
    logger = RunLogger(folder, tensorboard, page)
    logger.log_start()
    return logger
