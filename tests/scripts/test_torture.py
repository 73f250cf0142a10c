"""The short form of `scripts/torture.sh`: a few of its kills, and a disk that fills up at every call of a save."""

from __future__ import annotations

import errno
import random
from pathlib import Path

from data.toy import make_toy_data
from scripts.torture import survive_faults, survive_kills


def test_no_save_on_a_full_disk_leaves_an_unusable_run(tmp_path: Path) -> None:
    survived, tried = survive_faults(tmp_path, (errno.ENOSPC,))
    assert survived == tried > 30


def test_a_run_that_is_killed_ends_as_one_that_is_not(tmp_path: Path) -> None:
    make_toy_data("street", tmp_path / "data", sequences=2, frames=6, size=(64, 32), seed=0, phases=("train",))
    assert survive_kills(tmp_path, 2, random.Random(3)) == (3, 3)
