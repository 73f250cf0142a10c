"""What the loader tells of workers that die or hang."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import cast

import pytest

from data.dataset import ClipDataset
from data.loader import WorkerStatus, build_dataloader
from data.sampler import ClipPlan
from util.clip import Clip
from util.errors import UserError

PLANS = [[ClipPlan(0, (0,), 1, (0,))]]


@dataclass(frozen=True)
class Deadly:
    """As a worker that the system kills for its memory."""

    def describe_files(self, plan: ClipPlan) -> str:
        return "seq7/frame3.png"

    def __getitem__(self, plan: ClipPlan) -> Clip:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class Slow(Deadly):
    def __getitem__(self, plan: ClipPlan) -> Clip:
        time.sleep(0.5)
        raise UserError("at last")


def test_error_of_a_killed_worker_names_the_clip_it_was_loading() -> None:
    desks = WorkerStatus.create(1)
    said = r"DataLoader worker.*it was loading seq7/frame3.png.*--nThreads"
    with pytest.raises(UserError, match=said), desks.report_worker_crash():
        next(
            build_dataloader(cast(ClipDataset, Deadly()), PLANS, num_workers=1, worker_status=desks)
        )


@pytest.mark.parametrize("workers", [0, 1])
def test_stalled_worker_is_reported(workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="at last"):
        next(build_dataloader(cast(ClipDataset, Slow()), PLANS, workers, stall_timeout=0.3))
    said = capfd.readouterr().err
    assert "no clip for 0.3 s" in said
    assert workers or "seq7/frame3.png" in said
