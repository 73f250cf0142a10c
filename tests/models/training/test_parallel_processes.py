"""Training and synthesis with two ranks, started as torchrun does."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data.synthetic import make_toy_data
from tests.programs import REPO_ROOT, read_loss_log

FLAGS = (
    "--label_nc 35 --norm instance --ngf 4 --ndf 4 --n_downsample_G 2 --n_blocks 2 --n_layers_D 2 --no_vgg "
    "--loadSize 64 --n_scales_temporal 1 --flow_net dis --gpu_ids cpu --nThreads 0 --no_html --niter_decay 0 "
    "--serial_batches --no_flip --n_frames_total 3 --print_freq 1"
)


def launch(
    program: str, flags: str, rank: int = 0, world_size: int = 1, port: int = 0
) -> subprocess.Popen:
    """Start a process with the environment that torchrun sets."""
    variables: dict[str, object] = {}
    if world_size > 1:
        variables = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": world_size,
            "LOCAL_WORLD_SIZE": world_size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
    environment = os.environ | {key: str(value) for key, value in variables.items()}
    return subprocess.Popen(
        [sys.executable, program, *flags.split()],
        cwd=REPO_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_training(
    folder: Path, name: str, flags: str, rank: int = 0, world_size: int = 1, port: int = 0
) -> subprocess.Popen:
    """Start train.py on the data in `folder`."""
    run = f"--dataroot {folder / 'data'} --checkpoints_dir {folder} --name {name}"
    return launch("train.py", f"{FLAGS} {flags} {run}", rank, world_size, port)


def wait_for_success(*processes: subprocess.Popen) -> list[tuple[str, str]]:
    """Wait until all have ended with exit code 0; return the stdout and stderr of each."""
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return outputs


def find_free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street")
    make_toy_data(
        "street", root / "data", sequences=2, frames=5, size=(64, 32), seed=0, phases=("train",)
    )
    make_toy_data(
        "street", root / "data", sequences=3, frames=6, size=(64, 32), seed=1, phases=("test",)
    )
    return root


def read_losses(folder: Path, name: str) -> list[str]:
    """Return the losses of each line of a run's log."""
    return [line.split(") ")[1] for line in read_loss_log(folder / name)]


def test_two_ranks_train_as_one_with_twice_the_batch(folder: Path) -> None:
    """Adam amplifies rounding errors of gradients, hence the small learning rate."""
    flags, port = "--niter 1 --lr 1e-6", find_free_port()
    outputs = wait_for_success(
        *(start_training(folder, "two", flags, rank, 2, port) for rank in (0, 1))
    )
    wait_for_success(start_training(folder, "one", f"{flags} --batchSize 2"))
    assert read_losses(folder, "two") == read_losses(folder, "one") != []
    assert "[process 0 of 2]" in outputs[0][0] and outputs[1][0] == ""  # only rank 0 prints
    for name in ("G0", "D", "D_T0"):
        a, b = (
            torch.load(folder / run / f"latest_net_{name}.pth", weights_only=True)
            for run in ("one", "two")
        )
        for key, weight in a.items():
            if "running" not in key:
                assert (weight - b[key]).abs().max() < 1e-5 * weight.abs().max().clamp(min=1), (
                    f"{name}.{key}"
                )


def test_killed_rank_ends_the_other_ranks(folder: Path) -> None:
    port = find_free_port()
    two = [start_training(folder, "killed", "--niter 500", rank, 2, port) for rank in (0, 1)]
    try:
        log = folder / "killed" / "loss_log.txt"
        deadline = time.monotonic() + 200
        while not (log.is_file() and "(epoch: 2," in log.read_text()):
            assert time.monotonic() < deadline and two[0].poll() is None, (
                "training did not reach epoch 2"
            )
            time.sleep(0.2)
        two[1].send_signal(signal.SIGKILL)
        start = time.monotonic()
        _, errors = two[0].communicate(timeout=30)
        assert two[0].returncode == 1 and "error: rank 0 stops: another process" in errors, errors
        assert time.monotonic() - start < 30
    finally:
        for process in two:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def test_two_ranks_synthesize_the_same_files_and_page_as_one(folder: Path) -> None:
    """10 frames of three sequences with 4 each: the last one is cut short on its rank."""
    run = f"--checkpoints_dir {folder} --name run"
    wait_for_success(launch("train.py", f"{FLAGS} --niter 1 --dataroot {folder / 'data'} {run}"))
    port, flags = (
        find_free_port(),
        f"--dataroot {folder / 'data'} {run} --use_real_img --how_many 10 --results_dir {folder}",
    )
    outputs = wait_for_success(
        *(launch("test.py", f"{flags}/shared", rank, 2, port) for rank in (0, 1))
    )
    wait_for_success(launch("test.py", f"{flags}/alone"))
    shared, alone = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (folder / "shared", folder / "alone")
    )
    assert shared == alone and sum("fake_B_frame" in path.name for path in alone) == 10
    assert "10 frames of 3 sequences" in outputs[0][0] and outputs[1][0] == ""


def test_output_video_with_several_ranks_is_refused(folder: Path) -> None:
    port = find_free_port()
    two = [
        launch("test.py", f"--no_first_img --output {folder}/all.mp4 --gpu_ids cpu", rank, 2, port)
        for rank in (0, 1)
    ]
    for process in two:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 1
        assert errors.startswith("error: --input and --output are of one video"), errors
        assert len(errors.splitlines()) == 1
