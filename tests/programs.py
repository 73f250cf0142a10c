"""train.py and test.py as a user runs them, in this process: the imports are paid for once."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

REPO_ROOT = Path(__file__).parents[1]


def run_program(program: str, flags: Sequence[str]) -> int:
    """`python {program} FLAGS`; its exit code."""
    with patch.object(sys, "argv", [program, *flags]):
        try:
            runpy.run_path(str(REPO_ROOT / program), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0
