"""Crash test: kills a training run at random moments and during saves, and makes its disk fail.

`bash tests/crash/kill_and_resume.sh` (50 kills) or `bash tests/crash/kill_and_resume.sh --short`
(3 kills). After the last kill the run is completed; it must end bitwise equal to an uninterrupted
one. Prints how many tests passed; exit code 1 if any failed. All files are temporary.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import torch

from data.synthetic import make_toy_data
from models.training.resume import LATEST_STATE_FILE
from tests.tiny import is_bitwise_equal
from util.io.atomic import recover_interrupted_write
from util.io.state_dict import safe_load_dict, save_files_atomically

_CRASH_TEST_FLAGS = """--gpu_ids -1 --label_nc 35 --use_instance --ngf 4 --ndf 4 --n_downsample_G 1 --n_blocks 2
--num_D 1 --n_layers_D 1 --n_scales_temporal 1 --no_vgg --flow_net dis --loadSize 64 --n_frames_total 2 --no_html
--save_latest_freq 1 --clips_per_epoch 8 --niter_decay 0 --keep 2 --nThreads 1"""
# Runs train.py, which kills itself at the n-th of the calls that a save consists of.
_KILL_DURING_SAVE_PROGRAM = """
import os, pathlib, runpy, signal, sys

n_calls_left = int(sys.argv.pop(1))


def kill_when_due(function):
    def counted(*args, **kwargs):
        global n_calls_left
        n_calls_left -= 1
        if n_calls_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return counted


os.fsync = kill_when_due(os.fsync)
pathlib.Path.replace = kill_when_due(pathlib.Path.replace)
pathlib.Path.unlink = kill_when_due(pathlib.Path.unlink)
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""


def start_training(
    work: Path, name: str, epochs: int, should_resume: bool, kill_at_call: int | None = None
) -> subprocess.Popen[bytes]:
    """Start train.py in a new process.

    Args:
        work: Folder with the data and the checkpoints.
        name: Name of the run.
        epochs: Epochs to train.
        should_resume: Whether to pass `--continue_train`.
        kill_at_call: Number of the call within saves at which the process kills itself.
    """
    program = ["train.py"]
    if kill_at_call is not None:
        program = ["-c", _KILL_DURING_SAVE_PROGRAM, str(kill_at_call)]
    flags = _CRASH_TEST_FLAGS.split()
    flags += ["--dataroot", str(work / "data"), "--checkpoints_dir", str(work)]
    flags += ["--name", name, "--niter", str(epochs)]
    if should_resume:
        flags.append("--continue_train")
    with (work / f"{name}.err").open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, *program, *flags],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def has_run_state(folder: Path) -> bool:
    return (folder / LATEST_STATE_FILE).exists()


def read_run_state(folder: Path) -> dict:
    recover_interrupted_write(folder)
    return safe_load_dict(folder / LATEST_STATE_FILE, "crash test")


def are_runs_equal(a: Path, b: Path) -> bool:
    """Compare all that two runs saved, except their options."""
    state_a, state_b = read_run_state(a), read_run_state(b)
    parts = ("run", "random", "networks", "optimizers")
    return all(is_bitwise_equal(state_a[part], state_b[part]) for part in parts)


def is_checkpoint_consistent(folder: Path) -> bool:
    """Return whether the exported weights equal those of the training state."""
    state = read_run_state(folder)
    return all(
        is_bitwise_equal(safe_load_dict(folder / f"latest_net_{name}.pth", ""), weights)
        for name, weights in state["networks"].items()
    )


def wait_for_save(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for the next save or the end of the process.

    A kill before the first step tests nothing, and the start of a run takes long.
    """
    path = folder / "iter.txt"

    def modification_time() -> int:
        return path.stat().st_mtime_ns if path.exists() else 0

    before = modification_time()
    while modification_time() == before and process.poll() is None:
        time.sleep(0.005)


def run_until_killed(work: Path, epochs: int, rng: random.Random) -> bool:
    """Train until a kill at a random moment or in a save; return whether the run can be resumed."""
    folder = work / "broken"
    should_resume = has_run_state(folder)
    if rng.random() < 0.5:
        kill_at_call = rng.randint(1, 40)
        start_training(work, "broken", epochs, should_resume, kill_at_call).wait()
    else:
        process = start_training(work, "broken", epochs, should_resume)
        wait_for_save(process, folder)
        time.sleep(rng.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if has_run_state(folder):
        return is_checkpoint_consistent(folder)
    return not should_resume


def count_survived_kills(work: Path, n_kills: int, rng: random.Random) -> tuple[int, int]:
    """Kill a run `n_kills` times, complete it, and compare it with an uninterrupted one.

    Returns:
        The number of tests passed and done; the comparison is the last test.
    """
    epochs = 2 + n_kills // 4
    broken = work / "broken"
    start = time.monotonic()
    start_training(work, "unbroken", epochs, should_resume=False).wait()
    seconds = time.monotonic() - start
    print(f"uninterrupted: {epochs} epochs of 8 steps in {seconds:.0f} s", flush=True)
    n_survived = 0
    for i in range(n_kills):
        is_usable = run_until_killed(work, epochs, rng)
        n_survived += is_usable
        run = read_run_state(broken)["run"] if has_run_state(broken) else "nothing saved yet"
        print(f"kill {i + 1}: {'usable' if is_usable else 'BROKEN'}, {run}", flush=True)
    if start_training(work, "broken", epochs, has_run_state(broken)).wait():
        print((work / "broken.err").read_text()[-2000:])
    is_equal = are_runs_equal(work / "unbroken", broken)
    comparison = "equal" if is_equal else "DIFFERENT"
    print(f"weights, optimizers and random states at the end are {comparison}")
    return n_survived + is_equal, n_kills + 1


@contextmanager
def failing_disk(first_failing_call: int, error_number: int) -> Iterator[list[int]]:
    """Let the n-th writing call and all later ones raise an error, as on a full or broken disk."""
    n_calls = [0]

    def counted(function: Callable) -> Callable:
        def run(*args: object, **kwargs: object) -> object:
            n_calls[0] += 1
            if n_calls[0] >= first_failing_call:
                raise OSError(error_number, os.strerror(error_number))
            return function(*args, **kwargs)

        return run

    class CountedFile:
        """A file whose writing calls are counted."""

        def __init__(self, file: IO) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            value = getattr(self.file, name)
            return counted(value) if name in ("write", "flush") else value

        def __enter__(self) -> CountedFile:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

    original_open = Path.open

    def open_counted(path: Path, *args: Any, **kwargs: Any) -> CountedFile:
        return CountedFile(original_open(path, *args, **kwargs))

    with (
        patch.object(Path, "open", open_counted),
        patch.object(os, "fsync", counted(os.fsync)),
        patch.object(Path, "replace", counted(Path.replace)),
        patch.object(Path, "write_text", counted(Path.write_text)),
    ):
        yield n_calls


def make_save(value: float) -> dict[str, object]:
    """Return the content of a small save, by file name."""
    return {
        "state.pth": {"w": torch.full((50,), value)},
        "G0.pth": {"w": torch.full((50,), value)},
        "at.txt": "x",
    }


def read_save(folder: Path) -> set[float]:
    """Return the values in a small save: one if its files are consistent."""
    weights = [safe_load_dict(folder / name, "")["w"] for name in ("state.pth", "G0.pth")]
    return {float(w.mean()) for w in weights}


def save_on_failing_disk(folder: Path, first_failing_call: int, error_number: int) -> bool:
    """Save on a failing disk over an earlier save; return whether the disk failed."""
    save_files_atomically(folder, make_save(1.0))
    try:
        with failing_disk(first_failing_call, error_number):
            save_files_atomically(folder, make_save(2.0))
    except OSError:
        return True
    return False


def is_save_usable(folder: Path) -> bool:
    """Return whether the earlier or the new save is complete, and the next save works."""
    recover_interrupted_write(folder)
    is_complete = read_save(folder) in ({1.0}, {2.0})
    save_files_atomically(folder, make_save(3.0))
    has_temporary_files = any(path.name.startswith(".") for path in folder.iterdir())
    return is_complete and read_save(folder) == {3.0} and not has_temporary_files


def count_survived_disk_errors(
    work: Path, error_numbers: Sequence[int] = (errno.ENOSPC, errno.EIO, errno.EROFS)
) -> tuple[int, int]:
    """Let a save fail at its first, second, ... call, up to one that does not fail.

    Returns:
        The number of tests passed and done.
    """
    n_survived = n_tried = 0
    for error_number in error_numbers:
        for call in itertools.count(1):
            folder = work / f"disk{error_number}_{call}"
            has_failed = save_on_failing_disk(folder, call, error_number)
            n_survived += is_save_usable(folder)
            n_tried += 1
            if not has_failed:
                break
    return n_survived, n_tried


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="3 kills")
    parser.add_argument("--kills", type=int, default=50, help="number of kills; default: 50")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments; default: 0")
    args = parser.parse_args()
    n_kills = 3 if args.short else args.kills
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        disk_passed, disk_tried = count_survived_disk_errors(work)
        print(f"saves on a failing disk: survived {disk_passed} of {disk_tried}", flush=True)
        make_toy_data(
            "street", work / "data", sequences=2, frames=6, size=(64, 32), seed=0, phases=("train",)
        )
        kills_passed, kills_tried = count_survived_kills(work, n_kills, random.Random(args.seed))
        print(f"kills and the final comparison: survived {kills_passed} of {kills_tried}")
    sys.exit((disk_passed, kills_passed) != (disk_tried, kills_tried))


if __name__ == "__main__":
    main()
