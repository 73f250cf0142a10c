"""Kills a training run at random moments, and inside its saves, and fails its disk; ends with the unbroken run's bits.

`tests/crash/kill_and_resume.sh` (50 kills) or `tests/crash/kill_and_resume.sh --short` (3; for CI). Prints survived/tried, exit code 1 if any
did not. Everything is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch

from data.synthetic import make_toy_data
from models.training.resume import LATEST_STATE_FILE
from util.io.atomic import recover_interrupted_write
from util.io.state_dict import safe_load_dict, save_files_atomically

_CRASH_TEST_FLAGS = """--gpu_ids -1 --label_nc 35 --use_instance --ngf 4 --ndf 4 --n_downsample_G 1 --n_blocks 2 --num_D 1
--n_layers_D 1 --n_scales_temporal 1 --no_vgg --flow_net dis --loadSize 64 --n_frames_total 2 --no_html
--save_latest_freq 1 --clips_per_epoch 8 --niter_decay 0 --keep_last_epochs 2 --nThreads 1"""
# A run that dies by its own hand at the n-th of the calls that a save consists of.
_KILL_DURING_SAVE_PROGRAM = """
import os, pathlib, signal, runpy, sys
left = int(sys.argv.pop(1))
def deadly(call):
    def counted(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return counted
os.fsync, pathlib.Path.replace, pathlib.Path.unlink = map(deadly, (os.fsync, pathlib.Path.replace, pathlib.Path.unlink))
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""


def start_training(
    work: Path, name: str, epochs: int, should_resume: bool, kill_at_call: int | None = None
) -> subprocess.Popen[bytes]:
    """inside: the number of the call of its saves at which it is to die."""
    program = (
        ["train.py"]
        if kill_at_call is None
        else ["-c", _KILL_DURING_SAVE_PROGRAM, str(kill_at_call)]
    )
    flags = [
        "--dataroot",
        str(work / "data"),
        "--checkpoints_dir",
        str(work),
        "--name",
        name,
        "--niter",
        str(epochs),
    ]
    if should_resume:
        flags.append("--continue_train")
    with (work / f"{name}.err").open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, *program, *_CRASH_TEST_FLAGS.split(), *flags],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def read_run_state(folder: Path) -> dict:
    recover_interrupted_write(folder)
    return safe_load_dict(folder / LATEST_STATE_FILE, "the tortured run")


def is_bitwise_equal(a: object, b: object) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_bitwise_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(is_bitwise_equal, a, b))
    return a == b


def is_checkpoint_consistent(folder: Path) -> bool:
    """The exported weights are those of the state."""
    state = read_run_state(folder)
    return all(
        is_bitwise_equal(safe_load_dict(folder / f"latest_net_{name}.pth", ""), weights)
        for name, weights in state["networks"].items()
    )


def wait_for_save(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Or for its end: what a run does before its first step is long and hurts nobody when it is cut short."""

    def stamp() -> int:
        return (folder / "iter.txt").stat().st_mtime_ns if (folder / "iter.txt").exists() else 0

    before = stamp()
    while stamp() == before and process.poll() is None:
        time.sleep(0.005)


def run_until_killed(work: Path, epochs: int, rng: random.Random) -> bool:
    """One life of the run: ended at a random moment, or inside a save. Whether it left a state to go on from."""
    folder = work / "broken"
    begun = (folder / LATEST_STATE_FILE).exists()
    if rng.random() < 0.5:
        start_training(work, "broken", epochs, begun, kill_at_call=rng.randint(1, 40)).wait()
    else:
        process = start_training(work, "broken", epochs, begun)
        wait_for_save(process, folder)
        time.sleep(rng.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return is_checkpoint_consistent(folder) if (folder / LATEST_STATE_FILE).exists() else not begun


def count_survived_kills(work: Path, n_kills: int, rng: random.Random) -> tuple[int, int]:
    """Survived and tried; the last try is the comparison with the unbroken run."""
    epochs = 2 + n_kills // 4
    began = time.monotonic()
    start_training(work, "unbroken", epochs, should_resume=False).wait()
    print(f"unbroken: {epochs} epochs of 8 steps in {time.monotonic() - began:.0f} s", flush=True)
    survived = 0
    for number in range(n_kills):
        survived += (fine := run_until_killed(work, epochs, rng))
        run = (
            read_run_state(work / "broken")["run"]
            if (work / "broken" / LATEST_STATE_FILE).exists()
            else "nothing saved yet"
        )
        print(f"kill {number + 1}: {'whole' if fine else 'BROKEN'}, {run}", flush=True)
    if start_training(
        work, "broken", epochs, (work / "broken" / LATEST_STATE_FILE).exists()
    ).wait():
        print((work / "broken.err").read_text()[-2000:])
    states = [read_run_state(work / name) for name in ("unbroken", "broken")]
    alike = all(
        is_bitwise_equal(states[0][part], states[1][part])
        for part in ("run", "networks", "optimizers", "random")
    )
    print(
        f"weights, optimisers and random states at the end are {'equal' if alike else 'DIFFERENT'}"
    )
    return survived + alike, n_kills + 1


@contextmanager
def failing_disk(first_failing_call: int, error_number: int) -> Iterator[list[int]]:
    """The `at`-th writing call raises this errno, and all after it, as a full or broken disk does."""
    calls = [0]

    def counted(call: object) -> object:
        def run(*args: object, **kwargs: object) -> object:
            calls[0] += 1
            if calls[0] >= first_failing_call:
                raise OSError(error_number, os.strerror(error_number))
            return call(*args, **kwargs)  # type: ignore[operator]

        return run

    class Disk:
        """A file whose every write counts."""

        def __init__(self, file: object) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            value = getattr(self.file, name)
            return counted(value) if name in ("write", "flush") else value

        def __enter__(self) -> Disk:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()  # type: ignore[attr-defined]

    opened = Path.open
    with (
        patch.object(Path, "open", lambda path, *args, **kw: Disk(opened(path, *args, **kw))),
        patch.object(os, "fsync", counted(os.fsync)),
        patch.object(Path, "replace", counted(Path.replace)),
        patch.object(Path, "write_text", counted(Path.write_text)),
    ):
        yield calls


def count_survived_disk_errors(
    work: Path, error_numbers: Sequence[int] = (errno.ENOSPC, errno.EIO, errno.EROFS)
) -> tuple[int, int]:
    """A save fails at its first, second, ... call: the old set or the new is there, whole, and the next save works."""

    def content(value: float) -> dict[str, object]:
        return {
            "state.pth": {"w": torch.full((50,), value)},
            "G0.pth": {"w": torch.full((50,), value)},
            "at.txt": "x",
        }

    survived = tried = 0
    for number in error_numbers:
        at, failed = 1, True
        while failed:
            folder = work / f"disk{number}_{at}"
            save_files_atomically(folder, content(1.0))
            failed = False
            try:
                with failing_disk(at, number):
                    save_files_atomically(folder, content(2.0))
            except OSError:
                failed = True
            recover_interrupted_write(folder)
            values = {
                float(safe_load_dict(folder / name, "")["w"].mean())
                for name in ("state.pth", "G0.pth")
            }
            save_files_atomically(folder, content(3.0))
            again = float(safe_load_dict(folder / "G0.pth", "")["w"].mean()) == 3.0
            left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
            survived += values in ({1.0}, {2.0}) and again and not left
            tried += 1
            at += 1
    return survived, tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="3 kills instead of 50")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        faults = count_survived_disk_errors(work)
        print(f"saves on a failing disk: survived {faults[0]} of {faults[1]}", flush=True)
        make_toy_data(
            "street", work / "data", sequences=2, frames=6, size=(64, 32), seed=0, phases=("train",)
        )
        kills = count_survived_kills(
            work, 3 if args.short else args.kills, random.Random(args.seed)
        )
        print(f"kills and the run that they interrupted: survived {kills[0]} of {kills[1]}")
    sys.exit(faults[0] != faults[1] or kills[0] != kills[1])


if __name__ == "__main__":
    main()
