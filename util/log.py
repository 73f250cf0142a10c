"""What a run tells about its losses: `loss_log.txt` (SPEC 10) and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType

import numpy as np


def format_loss_line(
    epoch: int, iters: int, seconds_per_clip: float, losses: Mapping[str, float]
) -> str:
    """One line of the log: names sorted, 3 decimals, terms that are exactly 0 left out.

    iters: clips trained in this epoch; seconds: time per clip."""
    shown = [f"{name}: {value:.3f}" for name, value in sorted(losses.items()) if value != 0]
    return " ".join([f"(epoch: {epoch}, iters: {iters}, time: {seconds_per_clip:.3f})", *shown])


class LogFile:
    """Appends to a run's file; each line is on disk when the call returns, so that a killed run keeps its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _append(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class LossLog(LogFile):
    """`loss_log.txt`."""

    def write_header(self) -> None:
        """The line that tells one start of the run from the next."""
        self._append(
            f"================ started {datetime.now():%Y-%m-%d %H:%M:%S} ================"
        )

    def add(
        self, epoch: int, iters: int, seconds_per_clip: float, losses: Mapping[str, float]
    ) -> str:
        """Appends `loss_line` and returns it."""
        line = format_loss_line(epoch, iters, seconds_per_clip, losses)
        self._append(line)
        return line


class WarningLog(LogFile):
    """`warnings.txt`: that a run trains on but learns no more."""

    def add(self, epoch: int, iters: int, message: str) -> None:
        """iters: clips trained in this epoch."""
        self._append(f"(epoch: {epoch}, iters: {iters}) {message}")


class EvaluationLog(LogFile):
    """`eval_log.txt`: figures of held-out clips."""

    def add(self, epoch: int, total_clips: int, metrics: Mapping[str, float]) -> None:
        """clips: since the run began."""
        self._append(
            " ".join(
                [
                    f"(epoch: {epoch}, clips: {total_clips})",
                    *(f"{k}: {v:.5g}" for k, v in metrics.items()),
                ]
            )
        )


class NullLogger(AbstractContextManager["NullLogger"]):
    """A board that nobody asked for: takes everything, keeps nothing."""

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """values: name -> number at this step."""

    def log_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """images: name -> (H, W, 3) uint8 at this step."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaves nothing unwritten."""


class TensorBoardLogger(NullLogger):
    """TensorBoard event files in `folder`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and few runs want it

        self._writer = SummaryWriter(str(folder))

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def log_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, image in images.items():
            self._writer.add_image(name, image, step, dataformats="HWC")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()


def open_tensorboard_logger(folder: Path, is_enabled: bool) -> NullLogger:
    """The run's board (`--tf_log`) or one that keeps nothing: the caller needs no ifs."""
    return TensorBoardLogger(folder) if is_enabled else NullLogger()
