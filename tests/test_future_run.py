"""Into the future through train.py and test.py themselves: a label predictor, and a video on its predictions."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.synthetic import make_toy_data
from models.inference.label_forecast import forecast_labels
from options.from_checkpoint import load_label_predictor
from tests.programs import run_program
from util.clip import Clip
from util.images.visualization import label_map_to_image

SMALL = "--label_nc 35 --loadSize 64 --ngf 4 --n_downsample_G 2 --n_blocks 2 --gpu_ids -1"
TRAIN = (
    f"{SMALL} --nThreads 0 --no_html --print_freq 1 --n_frames_total 4 --max_frames_per_gpu 2 --niter_step 1 "
    "--max_frames_backpropagate 2 --niter_decay 0 --clips_per_epoch 2"
)
VIDEO = "--use_instance --ndf 4 --num_D 1 --n_scales_temporal 1 --no_vgg --flow_net none --niter 1"
LABELS = "--model future_labels --n_frames_G 4 --eval_freq 1 --eval_frames 3"


def train(folder: Path, name: str, flags: str) -> int:
    return run_program(
        "train.py",
        [
            *f"{TRAIN} {flags} --name {name}".split(),
            "--dataroot",
            str(folder / "data"),
            "--checkpoints_dir",
            str(folder),
        ],
    )


def synthesise(folder: Path, flags: str) -> int:
    return run_program(
        "test.py",
        [
            *f"--name video --gpu_ids -1 {flags}".split(),
            "--dataroot",
            str(folder / "data"),
            "--checkpoints_dir",
            str(folder),
            "--results_dir",
            str(folder / "results"),
        ],
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video run, then a label run, which finds no images any more."""
    folder = tmp_path_factory.mktemp("future")
    make_toy_data(
        "street",
        folder / "data",
        sequences=1,
        frames=8,
        size=(64, 32),
        seed=0,
        phases=("train", "test"),
    )
    assert train(folder, "video", VIDEO) == 0
    shutil.rmtree(folder / "data/train_B")
    assert train(folder, "labels", f"{LABELS} --niter 2") == 0
    return folder


def made(folder: Path, stream: str) -> list[Path]:
    return sorted((folder / "results/video/test_latest").rglob(f"{stream}_*.*g"))


def test_label_run_writes_its_files(trained: Path) -> None:
    files = {path.name for path in (trained / "labels").glob("*.pth")}
    assert files == {f"{label}_net_G_labels.pth" for label in ("1", "2", "latest", "best")} | {
        "latest_state.pth"
    }
    lines = (trained / "labels/loss_log.txt").read_text().splitlines()
    assert sum("G_Labels: " in line and "F_Warp: " in line for line in lines) == 4
    assert re.search(
        r"mean_iou: .* accuracy: .* mean_iou_repeated: ",
        (trained / "labels/eval_log.txt").read_text(),
    )


def test_label_run_resumes_bitwise_equal(trained: Path) -> None:
    assert train(trained, "twice", f"{LABELS} --niter 1") == 0
    assert train(trained, "twice", f"{LABELS} --niter 2 --continue_train") == 0
    once, twice = (
        torch.load(trained / name / "latest_net_G_labels.pth", weights_only=True)
        for name in ("labels", "twice")
    )
    assert all(torch.equal(once[key], twice[key]) for key in once)


def test_video_is_synthesized_from_predicted_labels(trained: Path) -> None:
    assert synthesise(trained, f"--use_real_img --future_labels {trained / 'labels'}") == 0
    shown, fake, real = made(trained, "real_A"), made(trained, "fake_B"), made(trained, "real_B")
    assert len(shown) == len(fake) == len(real) == 8 - 3  # three label maps are given
    files = sorted((trained / "data/test_A").rglob("*.png"))[:3]
    given = [torch.from_numpy(np.array(Image.open(path)))[None, None, None] for path in files]
    predictions = forecast_labels(
        load_label_predictor(trained / "labels", 35, torch.device("cpu")),
        [Clip(ids, None, None, (("",),)) for ids in given],
    )
    for path, labels in zip(shown, predictions, strict=False):
        assert np.array_equal(np.asarray(Image.open(path)), label_map_to_image(labels[0, 0, 0], 35))


def test_synthesis_continues_beyond_the_last_label_map(trained: Path) -> None:
    beyond = "--future_frames 9 --no_first_img --how_many 7"
    assert synthesise(trained, f"{beyond} --future_labels {trained / 'labels'}") == 0
    assert [path.stem for path in made(trained, "real_A_future")] == [
        f"real_A_future_{n:06}" for n in range(1, 8)
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            "--future_labels {}/video",
            ["opt.txt is of a run of --model vid2vid", "--future_labels", "future_labels"],
        ),
        (
            "--future_labels {}/nowhere",
            ["nowhere/opt.txt does not exist", "--future_labels", "--model future_labels"],
        ),
        (
            "--future_labels {}/labels --name labels",
            ["--model future_labels is for train.py", "--future_labels"],
        ),
    ],
)
def test_incompatible_runs_are_refused(
    trained: Path, capsys: pytest.CaptureFixture[str], flags: str, words: list[str]
) -> None:
    assert synthesise(trained, f"--use_real_img {flags.format(trained)}") == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and "\n" not in said
    assert all(word in said for word in words), said


def test_predictor_of_other_label_count_is_refused(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (trained / "labels/opt.txt").read_text()
    (trained / "other").mkdir()
    (trained / "other/opt.txt").write_text(options.replace("label_nc: 35", "label_nc: 20"))
    assert synthesise(trained, f"--use_real_img --future_labels {trained / 'other'}") == 1
    assert (
        "other was trained with --label_nc 20, but the video run uses 35" in capsys.readouterr().err
    )
