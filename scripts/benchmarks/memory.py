"""Memory of training over frames per window, size and checkpointing: `python -m scripts.benchmarks.memory FLAGS`.

Each row is `train.py --dry_run` with FLAGS and its own sizes on toy data, in a process of its own. `--sizes` (widths)
and `--frames` choose the rows.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from data.synthetic import make_toy_data

_N_HISTORY = 2  # frames before the first generated one, with train.py's --n_frames_G 3
_DRY_RUN_PATTERN = re.compile(r"([\d.]+) s a step, peak memory (.+); nothing was saved")


def run_dry_run(
    flags: Sequence[str], data: Path, width: int, frames: int, checkpoint_activations: bool
) -> tuple[str, str]:
    """Peak memory by device, and seconds a step, both in words. CalledProcessError where train.py ends badly."""
    command = [
        sys.executable,
        "train.py",
        *flags,
        "--dry_run",
        "--dataroot",
        str(data),
        "--label_nc",
        "35",
        "--loadSize",
        str(width),
        "--n_frames_total",
        str(frames),
        "--max_frames_per_gpu",
        str(frames),
        "--max_frames_backpropagate",
        str(frames),
        *["--checkpoint_activations"] * checkpoint_activations,
    ]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = _DRY_RUN_PATTERN.search(said)
    assert found is not None, said
    return found[2], found[1]


def make_memory_table(
    flags: Sequence[str], widths: Sequence[int], frames: Sequence[int]
) -> list[str]:
    """Markdown: a row for each size and number of frames, activations kept and checkpointed side by side."""
    rows = [
        "| size | frames a window | memory | s a step | checkpointed: memory | s a step |",
        "|" + 6 * "---|",
    ]
    with TemporaryDirectory() as folder:
        for width in widths:
            make_toy_data(
                "street",
                Path(folder) / str(width),
                sequences=1,
                frames=_N_HISTORY + max(frames),
                size=(width, width // 2),
                phases=("train",),
            )
        for width, count in product(widths, frames):
            cells = [
                cell
                for checkpointed in (False, True)
                for cell in run_dry_run(
                    flags, Path(folder) / str(width), width, count, checkpointed
                )
            ]
            rows.append(f"| {width}x{width // 2} | {count} | {' | '.join(cells)} |")
            print(rows[-1], file=sys.stderr)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[128, 256, 512], help="widths, twice the heights"
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 2, 4, 6], help="of a window")
    own, train_flags = parser.parse_known_args()
    print("\n".join(make_memory_table(train_flags, own.sizes, own.frames)))
