"""Run train.py and test.py as a user does, but in this process, which saves the imports."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

REPO_ROOT = Path(__file__).parents[1]


def run_program(program: str, flags: Sequence[str]) -> int:
    """Run `python PROGRAM FLAGS` and return its exit code."""
    with patch.object(sys, "argv", [program, *flags]):
        try:
            runpy.run_path(str(REPO_ROOT / program), run_name="__main__")
        except SystemExit as error:
            return int(error.code or 0)
    return 0


def read_loss_log(run: Path) -> list[str]:
    """Return the lines of a run's loss log without the times."""
    lines = (run / "loss_log.txt").read_text().splitlines()
    return [re.sub(r"time: [\d.]+", "", line) for line in lines if line.startswith("(epoch")]
