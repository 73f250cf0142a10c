"""Interrupted and resumed runs of train.py end bitwise equal to uninterrupted ones."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import torch

import train
from data.synthetic import make_toy_data
from models.training.resume import LATEST_STATE_FILE
from models.training.trainer import Trainer
from tests.crash.kill_and_resume import are_runs_equal, read_run_state
from util.errors import UserError

ROOT = Path(__file__).parents[1]
MODE_FLAGS = {
    "street": "--label_nc 35 --use_instance",
    "face": "--dataset_mode face --input_nc 15",
    "pose": "--dataset_mode pose --input_nc 6 --resize_or_crop scaleHeight",
}
TINY_FLAGS = """--gpu_ids -1 --ngf 4 --ndf 4 --n_downsample_G 1 --n_blocks 2 --num_D 1 --n_layers_D 1
--n_scales_temporal 1 --no_vgg --flow_net dis --loadSize 64 --fineSize 64 --n_frames_total 2 --no_html
--clips_per_epoch 10 --niter 1 --niter_decay 0 --save_latest_freq 1000"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for mode in MODE_FLAGS:
        make_toy_data(
            mode,
            folder / mode,
            sequences=2,
            frames=5,
            size=(128, 64),
            seed=1,
            phases=("train",),
        )
    return folder


@pytest.fixture(autouse=True)
def restored_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers that train.py replaces."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(
    data: Path, work: Path, name: str, mode: str, *extra_flags: str, stop_after: int | None = None
) -> None:
    """Run train.py, and request a stop during the step number `stop_after`."""
    stop = Event()
    steps = itertools.count(1)
    train_clip = Trainer.train_clip

    def train_clip_counted(*args: object) -> object:
        if next(steps) == stop_after:
            stop.set()
        return train_clip(*args)  # type: ignore[arg-type]

    flags = ["--dataroot", str(data / mode), "--checkpoints_dir", str(work), "--name", name]
    flags += [*MODE_FLAGS[mode].split(), *TINY_FLAGS.split(), *extra_flags]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_clip", train_clip_counted)
        patch.setattr("options.build.make_graceful_stop_event", lambda: stop)
        patch.setattr(sys, "argv", ["train.py", *flags])
        train.main()


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("mode", MODE_FLAGS)
def test_resume_after_five_steps_equals_ten_steps(
    data: Path, tmp_path: Path, mode: str, workers: str
) -> None:
    run(data, tmp_path, "uninterrupted", mode, "--nThreads", workers)
    run(data, tmp_path, "resumed", mode, "--nThreads", workers, stop_after=5)
    assert read_run_state(tmp_path / "resumed")["run"]["step"] == 5
    run(data, tmp_path, "resumed", mode, "--nThreads", workers, "--continue_train")
    assert are_runs_equal(tmp_path / "uninterrupted", tmp_path / "resumed")
    assert read_run_state(tmp_path / "uninterrupted")["run"]["epoch"] == 2


def test_resume_refuses_other_networks_and_lists_changed_options(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, tmp_path, "a", "street", stop_after=1)
    with pytest.raises(UserError, match="--ngf 8 now, 4 in the saved run"):
        run(data, tmp_path, "a", "street", "--ngf", "8", "--continue_train")
    run(data, tmp_path, "a", "street", "--lr", "0.001", "--continue_train", stop_after=1)
    assert "changed: --lr 0.001 now, 0.0002 in the saved run" in capsys.readouterr().out


def test_new_run_archives_the_previous_state(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, "a", "street", stop_after=2)
    before = (tmp_path / "a" / LATEST_STATE_FILE).read_bytes()
    run(data, tmp_path, "a", "street", stop_after=1)
    assert (tmp_path / "a" / "previous_state.pth").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "keys"),
    [("--ema 3", ("networks", "G0_ema")), ("--amp fp16", ("optimizers", "G", "scaler"))],
)
def test_ema_and_grad_scaler_are_resumed(
    flags: str, keys: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    flags = f"{flags} --clips_per_epoch 4"
    run(data, tmp_path, "uninterrupted", "street", *flags.split())
    run(data, tmp_path, "resumed", "street", *flags.split(), stop_after=2)
    run(data, tmp_path, "resumed", "street", *flags.split(), "--continue_train")
    assert are_runs_equal(tmp_path / "uninterrupted", tmp_path / "resumed")
    saved = read_run_state(tmp_path / "uninterrupted")
    for key in keys:
        saved = saved[key]
    assert saved


@pytest.mark.parametrize(
    ("mode", "device_flags"),
    [
        ("street", ""),
        ("street", "--gpu_ids cpu,cpu --batchSize 2"),
        ("street", "--gpu_ids cpu,cpu,cpu --n_gpus_gen 2"),
        ("face", ""),
    ],
)
def test_non_finite_value_stops_the_run_and_can_be_replayed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str, device_flags: str
) -> None:
    """On one device, and on several that share a batch or a window; with labels, and with images."""
    flags = device_flags.split()
    path = tmp_path / "a" / LATEST_STATE_FILE
    run(data, tmp_path, "a", mode, *flags, stop_after=2)
    state = torch.load(path, weights_only=True)
    state["networks"]["G0"]["model_final_img.1.bias"][:] = float("nan")
    torch.save(state, path)
    with pytest.raises(UserError, match=r"G_GAN is nan.*seq0.*--debug_replay"):
        run(data, tmp_path, "a", mode, *flags, "--continue_train")
    assert torch.load(path, weights_only=True)["run"]["step"] == 2
    capsys.readouterr()
    with pytest.warns(UserWarning, match="Anomaly Detection"):
        snapshot = str(tmp_path / "a" / "not_finite.pth")
        run(data, tmp_path, "a", mode, *flags, "--debug_replay", snapshot)
    assert "G_GAN is nan" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_all_ranks_saves_and_exits_cleanly(
    data: Path, tmp_path: Path, number: int
) -> None:
    flags = ["--dataroot", str(data / "street"), "--checkpoints_dir", str(tmp_path), "--name", "a"]
    flags += ["--nThreads", "2", *MODE_FLAGS["street"].split(), *TINY_FLAGS.split()]
    flags += ["--niter", "1000", "--save_latest_freq", "1"]
    process = subprocess.Popen(
        [sys.executable, "train.py", *flags],
        cwd=ROOT,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "a" / "iter.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "stopped as requested; the last save" in output
    assert "--continue_train" in output
