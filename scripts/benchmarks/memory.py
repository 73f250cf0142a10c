"""Peak memory of training by size, frames per window and checkpointing.

Usage: `python -m scripts.benchmarks.memory [--sizes W ...] [--frames N ...] FLAGS`.

Each row runs `train.py --dry_run` with FLAGS (flags of train.py) on synthetic street data, in a
process of its own.
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
from scripts.benchmarks.report import format_markdown_table

_N_HISTORY = 2  # frames before the first generated one, with train.py's default --n_frames_G 3
_DRY_RUN_PATTERN = re.compile(r"([\d.]+) s a step, peak memory (.+); nothing was saved")
_MEMORY_COLUMNS = (
    "size",
    "frames per window",
    "memory",
    "s per step",
    "checkpointed: memory",
    "s per step",
)


def run_dry_run(
    flags: Sequence[str], data: Path, width: int, frames: int, checkpoint_activations: bool
) -> tuple[str, str]:
    """Run `train.py --dry_run`; return peak memory by device and seconds per step, as text.

    Raises:
        subprocess.CalledProcessError: If train.py fails.
    """
    command = [sys.executable, "train.py", *flags, "--dry_run", "--dataroot", str(data)]
    command += ["--label_nc", "35", "--loadSize", str(width), "--n_frames_total", str(frames)]
    command += ["--max_frames_per_gpu", str(frames), "--max_frames_backpropagate", str(frames)]
    if checkpoint_activations:
        command.append("--checkpoint_activations")
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    match = _DRY_RUN_PATTERN.search(output)
    assert match is not None, output
    return match[2], match[1]


def make_memory_table(flags: Sequence[str], widths: Sequence[int], frames: Sequence[int]) -> str:
    """Return a Markdown table with a row for each width and number of frames per window."""
    rows = []
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
        for width, n_frames in product(widths, frames):
            row = [f"{width}x{width // 2}", str(n_frames)]
            for checkpoint_activations in (False, True):
                data = Path(folder) / str(width)
                row += run_dry_run(flags, data, width, n_frames, checkpoint_activations)
            rows.append(row)
            print(*row, sep=", ", file=sys.stderr)
    return format_markdown_table(_MEMORY_COLUMNS, rows)


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[128, 256, 512],
        help="image widths; heights are half of them (default: %(default)s)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        default=[1, 2, 4, 6],
        help="frames per window (default: %(default)s)",
    )
    args, train_flags = parser.parse_known_args()
    print(make_memory_table(train_flags, args.sizes, args.frames))


if __name__ == "__main__":
    main()
