"""From the user's own data to a first image and another city, through train.py and test.py themselves."""

import io
import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from data.synthetic import make_toy_data

ROOT = Path(__file__).parents[1]
SMALL = (
    "--label_nc 35 --use_instance --loadSize 64 --ngf 4 --n_downsample_G 2 --n_blocks 2 --gpu_ids -1 "
    "--feat_num 2 --nef 4 --n_downsample_E 2 --nThreads 0"
)
TRAIN = "--ndf 4 --num_D 1 --no_vgg --no_html --niter_decay 0 --clips_per_epoch 2"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Runs train.py or test.py on a small toy street."""
    make_toy_data(
        "street",
        tmp_path / "street",
        sequences=1,
        frames=4,
        size=(64, 32),
        seed=0,
        phases=("train", "test"),
    )

    def run(script, flags):
        places = f"--dataroot {tmp_path / 'street'} --checkpoints_dir {tmp_path} "
        places += f"--results_dir {tmp_path / 'results'} " if script == "test.py" else ""
        monkeypatch.setattr(sys, "argv", [script, *f"{places}{SMALL} {flags}".split()])
        runpy.run_path(str(ROOT / script), run_name="__main__")

    return run


def files(folder):
    return {path.name for path in folder.glob("latest_net_*")} | {
        path.name for path in folder.glob("*.np*")
    }


def images(folder):
    return [path.read_bytes() for path in sorted(folder.rglob("fake_B_*.jpg"))]


def test_single_image_model_generates_first_frames_with_several_styles(program, tmp_path):
    single = f"--model single --netG global_with_features --norm instance --name single {TRAIN}"
    program("train.py", f"{single} --niter 1")
    assert files(tmp_path / "single") == {
        "latest_net_G.pth",
        "latest_net_E.pth",
        "latest_net_D.pth",
        "features.npy",
        "appearances.npz",
    }
    first = torch.load(tmp_path / "single" / "latest_net_E.pth", weights_only=True)
    program("train.py", f"{single} --niter 2 --continue_train")
    again = torch.load(tmp_path / "single" / "latest_net_E.pth", weights_only=True)
    assert not torch.equal(first["model.1.weight"], again["model.1.weight"])
    assert (tmp_path / "single" / "iter.txt").read_text().split() == ["3", "0"]

    program(
        "train.py",
        f"--name video --label_feat --flow_net none --n_frames_total 2 --n_scales_temporal 1 {TRAIN} "
        "--niter 1",
    )
    made = {}
    for name, more in {
        "city": "",
        "same": "",
        "other": "--seed 1",
        "seen": "--load_features",
    }.items():
        program(
            "test.py",
            f"--name video --label_feat --single_G {tmp_path / 'single'} --how_many 2 {more} "
            f"--results_dir {tmp_path / name}",
        )
        made[name] = images(tmp_path / name)
        assert len(made[name]) == 2
    assert made["city"] == made["same"]
    assert made["other"] != made["city"] != made["seen"]
    with Image.open(io.BytesIO(made["city"][0])) as image:
        assert image.size == (64, 32)
