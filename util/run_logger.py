"""Where a run tells what it does: loss log, TensorBoard, page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from util.log import EvaluationLog, LossLog, NullLogger, WarningLog, open_tensorboard_logger
from util.pages.results import TrainingPage


@dataclass(frozen=True)
class RunLogger:
    """page: None with `--no_html`. Clips are counted from 0 since the run began."""

    loss_log: LossLog
    tensorboard: NullLogger
    page: TrainingPage | None

    def log_losses(
        self,
        epoch: int,
        epoch_clips: int,
        total_clips: int,
        seconds_per_clip: float,
        losses: Mapping[str, float],
    ) -> None:
        """seconds: per clip."""
        self.loss_log.add(epoch, epoch_clips, seconds_per_clip, losses)
        self.tensorboard.log_scalars(total_clips, losses)

    def log_warning(self, epoch: int, epoch_clips: int, message: str) -> None:
        """To the console, and to warnings.txt beside the loss log."""
        tqdm.write(f"warning: {message}", file=sys.stderr)
        WarningLog(self.loss_log.path.with_name("warnings.txt")).add(epoch, epoch_clips, message)

    def log_metrics(self, epoch: int, total_clips: int, metrics: Mapping[str, float]) -> None:
        """How good the run is on held-out clips: a line in eval_log.txt, and curves."""
        EvaluationLog(self.loss_log.path.with_name("eval_log.txt")).add(epoch, total_clips, metrics)
        self.tensorboard.log_scalars(
            total_clips, {f"held_out/{name}": value for name, value in metrics.items()}
        )

    def log_images(self, epoch: int, total_clips: int, images: Mapping[str, np.ndarray]) -> None:
        """(H, W, 3) uint8 by name."""
        self.tensorboard.log_images(total_clips, images)
        if self.page is not None:
            self.page.add_entry(epoch, total_clips, images)


def open_run_logger(
    folder: Path, name: str, image_width: int, uses_html: bool, uses_tensorboard: bool
) -> RunLogger:
    """Of the run in `folder`. width: of images on its page, in pixels."""
    log = LossLog(folder / "loss_log.txt")
    log.write_header()
    page = TrainingPage(folder / "web", name, image_width) if uses_html else None
    return RunLogger(log, open_tensorboard_logger(folder / "logs", uses_tensorboard), page)
