"""Where a run tells what it does: loss log, TensorBoard, page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from util.log import EvaluationLog, LossLog, NoBoard, WarningLog, open_board
from util.web_page import TrainingPage


@dataclass(frozen=True)
class Journal:
    """page: None with `--no_html`. Clips are counted from 0 since the run began."""

    log: LossLog
    board: NoBoard
    page: TrainingPage | None

    def losses(self, epoch: int, clips_of_epoch: int, clips: int, seconds: float, losses: Mapping[str, float]) -> None:
        """seconds: per clip."""
        self.log.add(epoch, clips_of_epoch, seconds, losses)
        self.board.scalars(clips, losses)

    def warning(self, epoch: int, clips_of_epoch: int, line: str) -> None:
        """To the console, and to warnings.txt beside the loss log."""
        tqdm.write(f"warning: {line}", file=sys.stderr)
        WarningLog(self.log.path.with_name("warnings.txt")).add(epoch, clips_of_epoch, line)

    def figures(self, epoch: int, clips: int, figures: Mapping[str, float]) -> None:
        """How good the run is on held-out clips: a line in eval_log.txt, and curves."""
        EvaluationLog(self.log.path.with_name("eval_log.txt")).add(epoch, clips, figures)
        self.board.scalars(clips, {f"held_out/{name}": value for name, value in figures.items()})

    def pictures(self, epoch: int, clips: int, pictures: Mapping[str, np.ndarray]) -> None:
        """(H, W, 3) uint8 by name."""
        self.board.pictures(clips, pictures)
        if self.page is not None:
            self.page.add(epoch, clips, pictures)


def open_journal(folder: Path, name: str, width: int, html: bool, tensorboard: bool) -> Journal:
    """Of the run in `folder`. width: of pictures on its page, in pixels."""
    log = LossLog(folder / "loss_log.txt")
    log.start()
    page = TrainingPage(folder / "web", name, width) if html else None
    return Journal(log, open_board(folder / "logs", tensorboard), page)
