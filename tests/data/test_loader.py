"""What the loader tells of workers that die or hang."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import cast

import pytest

from data.clips import ClipDataset
from data.loader import Desks, make_loader
from data.sampling import ClipPlan
from util.clip import Clip
from util.errors import UserError

PLANS = [[ClipPlan(0, (0,), 1, (0,))]]


@dataclass(frozen=True)
class Deadly:
    """As a worker that the system kills for its memory."""

    def files(self, plan: ClipPlan) -> str:
        return "seq7/frame3.png"

    def __getitem__(self, plan: ClipPlan) -> Clip:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class Slow(Deadly):
    def __getitem__(self, plan: ClipPlan) -> Clip:
        time.sleep(0.5)
        raise UserError("at last")


def test_a_worker_that_is_killed_names_what_it_was_loading() -> None:
    desks = Desks.of(1)
    said = r"DataLoader worker.*it was loading seq7/frame3.png.*--nThreads"
    with pytest.raises(UserError, match=said), desks.naming_the_dead():
        next(make_loader(cast(ClipDataset, Deadly()), PLANS, workers=1, desks=desks))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stall_is_told_of(workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="at last"):
        next(make_loader(cast(ClipDataset, Slow()), PLANS, workers, patience=0.3))
    said = capfd.readouterr().err
    assert "no clip for 0.3 s" in said
    assert workers or "seq7/frame3.png" in said
