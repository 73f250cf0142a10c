"""Kills a training run at random moments, and inside its saves, and fails its disk; ends with the unbroken run's bits.

`scripts/torture.sh` (50 kills) or `scripts/torture.sh --short` (3; for CI). Prints survived/tried, exit code 1 if any
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

from data.toy import make_toy_data
from models.saving import STATE
from util.checkpoint import read_file, save_set
from util.files import settle

SMALL = """--gpu_ids -1 --label_nc 35 --use_instance --ngf 4 --ndf 4 --n_downsample_G 1 --n_blocks 2 --num_D 1
--n_layers_D 1 --n_scales_temporal 1 --no_vgg --flow_net dis --loadSize 64 --n_frames_total 2 --no_html
--save_latest_freq 1 --clips_per_epoch 8 --niter_decay 0 --keep 2 --nThreads 1"""
# A run that dies by its own hand at the n-th of the calls that a save consists of.
KILLED_INSIDE = """
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


def train(work: Path, name: str, epochs: int, resumes: bool, inside: int | None = None) -> subprocess.Popen[bytes]:
    """inside: the number of the call of its saves at which it is to die."""
    program = ["train.py"] if inside is None else ["-c", KILLED_INSIDE, str(inside)]
    flags = ["--dataroot", str(work / "data"), "--checkpoints_dir", str(work), "--name", name, "--niter", str(epochs)]
    if resumes:
        flags.append("--continue_train")
    with (work / f"{name}.err").open("wb") as errors:
        return subprocess.Popen([sys.executable, *program, *SMALL.split(), *flags], stdout=subprocess.DEVNULL,
                                stderr=errors, env={**os.environ, "OMP_NUM_THREADS": "1"})


def state_of(folder: Path) -> dict:
    settle(folder)
    return read_file(folder / STATE, "the tortured run")


def equal(a: object, b: object) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def is_whole(folder: Path) -> bool:
    """The exported weights are those of the state."""
    state = state_of(folder)
    return all(equal(read_file(folder / f"latest_net_{name}.pth", ""), weights)
               for name, weights in state["networks"].items())


def wait_for_a_save(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Or for its end: what a run does before its first step is long and hurts nobody when it is cut short."""
    def stamp() -> int:
        return (folder / "iter.txt").stat().st_mtime_ns if (folder / "iter.txt").exists() else 0

    before = stamp()
    while stamp() == before and process.poll() is None:
        time.sleep(0.005)


def kill_once(work: Path, epochs: int, rng: random.Random) -> bool:
    """One life of the run: ended at a random moment, or inside a save. Whether it left a state to go on from."""
    folder = work / "broken"
    begun = (folder / STATE).exists()
    if rng.random() < 0.5:
        train(work, "broken", epochs, begun, inside=rng.randint(1, 40)).wait()
    else:
        process = train(work, "broken", epochs, begun)
        wait_for_a_save(process, folder)
        time.sleep(rng.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return is_whole(folder) if (folder / STATE).exists() else not begun


def survive_kills(work: Path, kills: int, rng: random.Random) -> tuple[int, int]:
    """Survived and tried; the last try is the comparison with the unbroken run."""
    epochs = 2 + kills // 4
    began = time.monotonic()
    train(work, "unbroken", epochs, resumes=False).wait()
    print(f"unbroken: {epochs} epochs of 8 steps in {time.monotonic() - began:.0f} s", flush=True)
    survived = 0
    for number in range(kills):
        survived += (fine := kill_once(work, epochs, rng))
        run = state_of(work / "broken")["run"] if (work / "broken" / STATE).exists() else "nothing saved yet"
        print(f"kill {number + 1}: {'whole' if fine else 'BROKEN'}, {run}", flush=True)
    if train(work, "broken", epochs, (work / "broken" / STATE).exists()).wait():
        print((work / "broken.err").read_text()[-2000:])
    states = [state_of(work / name) for name in ("unbroken", "broken")]
    alike = all(equal(states[0][part], states[1][part]) for part in ("run", "networks", "optimizers", "random"))
    print(f"weights, optimisers and random states at the end are {'equal' if alike else 'DIFFERENT'}")
    return survived + alike, kills + 1


@contextmanager
def failing(at: int, number: int) -> Iterator[list[int]]:
    """The `at`-th writing call raises this errno, and all after it, as a full or broken disk does."""
    calls = [0]

    def counted(call: object) -> object:
        def run(*args: object, **kwargs: object) -> object:
            calls[0] += 1
            if calls[0] >= at:
                raise OSError(number, os.strerror(number))
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
    with patch.object(Path, "open", lambda path, *args, **kw: Disk(opened(path, *args, **kw))), \
            patch.object(os, "fsync", counted(os.fsync)), patch.object(Path, "replace", counted(Path.replace)), \
            patch.object(Path, "write_text", counted(Path.write_text)):
        yield calls


def survive_faults(work: Path, faults: Sequence[int] = (errno.ENOSPC, errno.EIO, errno.EROFS)) -> tuple[int, int]:
    """A save fails at its first, second, ... call: the old set or the new is there, whole, and the next save works."""
    def content(value: float) -> dict[str, object]:
        return {"state.pth": {"w": torch.full((50,), value)}, "G0.pth": {"w": torch.full((50,), value)}, "at.txt": "x"}

    survived = tried = 0
    for number in faults:
        at, failed = 1, True
        while failed:
            folder = work / f"disk{number}_{at}"
            save_set(folder, content(1.0))
            failed = False
            try:
                with failing(at, number):
                    save_set(folder, content(2.0))
            except OSError:
                failed = True
            settle(folder)
            values = {float(read_file(folder / name, "")["w"].mean()) for name in ("state.pth", "G0.pth")}
            save_set(folder, content(3.0))
            again = float(read_file(folder / "G0.pth", "")["w"].mean()) == 3.0
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
        faults = survive_faults(work)
        print(f"saves on a failing disk: survived {faults[0]} of {faults[1]}", flush=True)
        make_toy_data("street", work / "data", sequences=2, frames=6, size=(64, 32), seed=0, phases=("train",))
        kills = survive_kills(work, 3 if args.short else args.kills, random.Random(args.seed))
        print(f"kills and the run that they interrupted: survived {kills[0]} of {kills[1]}")
    sys.exit(faults[0] != faults[1] or kills[0] != kills[1])


if __name__ == "__main__":
    main()
