"""Tests of the data loader's messages about workers that crash or stall."""

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
class KilledDataset:
    """Kills its process, as the system does when memory runs out."""

    def describe_files(self, plan: ClipPlan) -> str:
        return "seq7/frame3.png"

    def __getitem__(self, plan: ClipPlan) -> Clip:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class SlowDataset(KilledDataset):
    """Takes half a second for a clip, and then fails."""

    def __getitem__(self, plan: ClipPlan) -> Clip:
        time.sleep(0.5)
        raise UserError("end of the stall")


def test_error_of_a_killed_worker_names_the_clip_it_was_loading() -> None:
    dataset = cast(ClipDataset, KilledDataset())
    worker_status = WorkerStatus.create(1)
    message = r"DataLoader worker.*it was loading seq7/frame3.png.*--nThreads"
    with pytest.raises(UserError, match=message), worker_status.report_worker_crash():
        next(build_dataloader(dataset, PLANS, num_workers=1, worker_status=worker_status))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_stalled_worker_is_reported(num_workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = cast(ClipDataset, SlowDataset())
    with pytest.raises(UserError, match="end of the stall"):
        next(build_dataloader(dataset, PLANS, num_workers, stall_timeout=0.3))
    output = capfd.readouterr().err
    assert "no clip for 0.3 s" in output
    assert num_workers or "seq7/frame3.png" in output


def test_status_of_a_long_path_is_truncated_and_replaced_by_a_shorter_one() -> None:
    worker_status = WorkerStatus.create(0)
    worker_status.update("x" * 5000)
    assert len(worker_status.read_all()[os.getpid()]) < 1024
    worker_status.update("frame 2.png")
    assert worker_status.read_all() == {os.getpid(): "frame 2.png"}
