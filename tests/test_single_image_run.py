"""Single-image models through train.py and test.py: first frames with sampled instance features."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from data.synthetic import make_toy_data
from tests.programs import run_program

SMALL = (
    "--label_nc 35 --use_instance --loadSize 64 --ngf 4 --n_downsample_G 2 --n_blocks 2 --gpu_ids -1 "
    "--feat_num 2 --nef 4 --n_downsample_E 2 --nThreads 0"
)
TRAIN = "--ndf 4 --num_D 1 --no_vgg --no_html --niter_decay 0 --clips_per_epoch 2"


@pytest.fixture
def run(tmp_path):
    """Runs train.py or test.py on a small synthetic street data set."""
    make_toy_data(
        "street",
        tmp_path / "street",
        sequences=1,
        frames=4,
        size=(64, 32),
        seed=0,
        phases=("train", "test"),
    )

    def run_with_flags(program, flags):
        folders = f"--dataroot {tmp_path / 'street'} --checkpoints_dir {tmp_path}"
        assert run_program(program, f"{folders} {SMALL} {flags}".split()) == 0

    return run_with_flags


def list_network_files(folder: Path) -> set[str]:
    return {path.name for path in (*folder.glob("latest_net_*"), *folder.glob("*.np*"))}


def read_images(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("fake_B_*.jpg"))]


def test_single_image_model_generates_first_frames_with_several_styles(run, tmp_path):
    single = f"--model single --netG global_with_features --norm instance --name single {TRAIN}"
    folder = tmp_path / "single"
    run("train.py", f"{single} --niter 1")
    assert list_network_files(folder) == {
        "latest_net_G.pth",
        "latest_net_E.pth",
        "latest_net_D.pth",
        "features.npy",
        "appearances.npz",
    }
    encoder = torch.load(folder / "latest_net_E.pth", weights_only=True)
    run("train.py", f"{single} --niter 2 --continue_train")
    resumed = torch.load(folder / "latest_net_E.pth", weights_only=True)
    assert not torch.equal(encoder["model.1.weight"], resumed["model.1.weight"])
    assert (folder / "iter.txt").read_text().split() == ["3", "0"]

    run(
        "train.py",
        f"--name video --label_feat --flow_net none --n_frames_total 2 --n_scales_temporal 1 {TRAIN} "
        "--niter 1",
    )
    images = {}
    variants = {"first": "", "same": "", "other": "--seed 1", "table_rows": "--load_features"}
    for name, flags in variants.items():
        run(
            "test.py",
            f"--name video --label_feat --single_G {folder} --how_many 2 {flags} "
            f"--results_dir {tmp_path / name}",
        )
        images[name] = read_images(tmp_path / name)
        assert len(images[name]) == 2
    assert images["first"] == images["same"]
    assert images["first"] != images["other"]
    assert images["first"] != images["table_rows"]
    with Image.open(io.BytesIO(images["first"][0])) as image:
        assert image.size == (64, 32)
