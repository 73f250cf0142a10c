"""Label prediction through train.py and test.py: a label predictor, and a video from its predictions."""

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
N_HISTORY = 3  # label maps that the predictor receives


def train(root: Path, name: str, flags: str) -> int:
    folders = f"--dataroot {root / 'data'} --checkpoints_dir {root}"
    return run_program("train.py", f"{TRAIN} {flags} --name {name} {folders}".split())


def synthesize(root: Path, flags: str) -> int:
    folders = (
        f"--dataroot {root / 'data'} --checkpoints_dir {root} --results_dir {root / 'results'}"
    )
    return run_program("test.py", f"--name video --gpu_ids -1 {flags} {folders}".split())


@pytest.fixture(scope="module")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video run, then a label run, which must not need images."""
    root = tmp_path_factory.mktemp("future")
    make_toy_data(
        "street",
        root / "data",
        sequences=1,
        frames=8,
        size=(64, 32),
        seed=0,
        phases=("train", "test"),
    )
    assert train(root, "video", VIDEO) == 0
    shutil.rmtree(root / "data/train_B")
    assert train(root, "labels", f"{LABELS} --niter 2") == 0
    return root


def list_results(root: Path, stream: str) -> list[Path]:
    return sorted((root / "results/video/test_latest").rglob(f"{stream}_*.*g"))


def test_label_run_writes_its_files(run_root: Path) -> None:
    folder = run_root / "labels"
    weights = {f"{label}_net_G_labels.pth" for label in ("1", "2", "latest", "best")}
    assert {path.name for path in folder.glob("*.pth")} == weights | {"latest_state.pth"}
    lines = (folder / "loss_log.txt").read_text().splitlines()
    assert sum("G_Labels: " in line and "F_Warp: " in line for line in lines) == 4
    eval_log = (folder / "eval_log.txt").read_text()
    assert re.search(r"mean_iou: .* accuracy: .* mean_iou_repeated: ", eval_log)


def test_label_run_resumes_bitwise_equal(run_root: Path) -> None:
    assert train(run_root, "resumed", f"{LABELS} --niter 1") == 0
    assert train(run_root, "resumed", f"{LABELS} --niter 2 --continue_train") == 0
    uninterrupted, resumed = (
        torch.load(run_root / name / "latest_net_G_labels.pth", weights_only=True)
        for name in ("labels", "resumed")
    )
    assert all(torch.equal(uninterrupted[key], resumed[key]) for key in uninterrupted)


def test_video_is_synthesized_from_predicted_labels(run_root: Path) -> None:
    labels_folder = run_root / "labels"
    assert synthesize(run_root, f"--use_real_img --future_labels {labels_folder}") == 0
    conditions = list_results(run_root, "real_A")
    assert len(conditions) == 8 - N_HISTORY
    assert len(list_results(run_root, "fake_B")) == 8 - N_HISTORY
    assert len(list_results(run_root, "real_B")) == 8 - N_HISTORY
    history = []
    for path in sorted((run_root / "data/test_A").rglob("*.png"))[:N_HISTORY]:
        ids = torch.from_numpy(np.array(Image.open(path)))[None, None, None]
        history.append(Clip(ids, None, None, (("",),)))
    predictor = load_label_predictor(labels_folder, 35, torch.device("cpu"))
    predictions = forecast_labels(predictor, history)
    for path, labels in zip(conditions, predictions, strict=False):
        expected = label_map_to_image(labels[0, 0, 0], 35)
        assert np.array_equal(np.asarray(Image.open(path)), expected)


def test_synthesis_continues_beyond_the_last_label_map(run_root: Path) -> None:
    flags = "--future_frames 9 --no_first_img --how_many 7"
    assert synthesize(run_root, f"{flags} --future_labels {run_root / 'labels'}") == 0
    stems = [path.stem for path in list_results(run_root, "real_A_future")]
    assert stems == [f"real_A_future_{n:06}" for n in range(1, 8)]


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
    run_root: Path, capsys: pytest.CaptureFixture[str], flags: str, words: list[str]
) -> None:
    assert synthesize(run_root, f"--use_real_img {flags.format(run_root)}") == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and "\n" not in message
    assert all(word in message for word in words), message


def test_predictor_of_other_label_count_is_refused(
    run_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opt_file = (run_root / "labels/opt.txt").read_text()
    (run_root / "other").mkdir()
    (run_root / "other/opt.txt").write_text(opt_file.replace("label_nc: 35", "label_nc: 20"))
    assert synthesize(run_root, f"--use_real_img --future_labels {run_root / 'other'}") == 1
    message = "other was trained with --label_nc 20, but the video run uses 35"
    assert message in capsys.readouterr().err
