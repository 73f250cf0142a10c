"""Short form of `tests/crash/kill_and_resume.sh`: two kills, and a disk that is full at every call of a save."""

from __future__ import annotations

import errno
import random
from pathlib import Path

from data.synthetic import make_toy_data
from tests.crash.kill_and_resume import count_survived_disk_errors, count_survived_kills


def test_save_on_a_full_disk_keeps_the_run_usable(tmp_path: Path) -> None:
    survived, tried = count_survived_disk_errors(tmp_path, (errno.ENOSPC,))
    assert survived == tried > 30


def test_killed_run_ends_bitwise_equal_to_an_uninterrupted_run(tmp_path: Path) -> None:
    make_toy_data(
        "street", tmp_path / "data", sequences=2, frames=6, size=(64, 32), seed=0, phases=("train",)
    )
    assert count_survived_kills(tmp_path, 2, random.Random(3)) == (3, 3)
