"""Where a run tells what it does: loss log, TensorBoard, page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from util.log import LossLog, NoBoard
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

    def pictures(self, epoch: int, clips: int, pictures: Mapping[str, np.ndarray]) -> None:
        """(H, W, 3) uint8 by name."""
        self.board.pictures(clips, pictures)
        if self.page is not None:
            self.page.add(epoch, clips, pictures)
