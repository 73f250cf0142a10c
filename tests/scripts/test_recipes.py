"""Recipe scripts: each passes the published flags and its own arguments on, from any working directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from options.test import parse_test
from options.train import parse_train

ROOT = Path(__file__).parents[2]

STREET = "--label_nc 35 --use_instance"
FACE = "--dataroot datasets/face/ --dataset_mode face --input_nc 15"
POSE = "--dataroot datasets/pose --dataset_mode pose --input_nc 6"
GPUS = "--gpu_ids 0,1,2,3,4,5,6,7"
CROP = "--resize_or_crop randomScaleHeight_and_scaledCrop"
STREET_2048 = (
    f"{STREET} --fg --loadSize 2048 --n_scales_spatial 3 --num_D 4 {GPUS} --n_gpus_gen 4 --n_frames_total 4 "
    "--niter_step 1 --niter 5 --niter_decay 5 --niter_fix_global 5 "
    "--load_pretrain checkpoints/label2city_1024 --lr 0.00005"
)

RECIPES = {
    "street/train_512.sh": f"--name label2city_512 {STREET} --fg --loadSize 512 {GPUS} --n_gpus_gen 6 "
    "--n_frames_total 6 --max_frames_per_gpu 2",
    "street/train_512_bs.sh": f"--name label2city_512_bs {STREET} --fg --loadSize 512 {GPUS} --n_gpus_gen -1 "
    "--n_frames_total 6 --batchSize 15",
    "street/train_512_no_fg.sh": f"--name label2city_512_no_fg {STREET} --loadSize 512 {GPUS} --n_gpus_gen 6 "
    "--n_frames_total 6 --max_frames_per_gpu 2",
    "street/train_1024.sh": f"--name label2city_1024 {STREET} --fg --loadSize 1024 --n_scales_spatial 2 --num_D 3 "
    f"{GPUS} --n_gpus_gen 4 --n_frames_total 4 --niter_step 2 --niter_fix_global 10 "
    "--load_pretrain checkpoints/label2city_512 --lr 0.0001",
    "street/train_2048.sh": f"--name label2city_2048 {STREET_2048}",
    "street/train_2048_crop.sh": f"--name label2city_2048_crop {STREET_2048} --fineSize 1024 --resize_or_crop crop",
    "street/train_g1_256.sh": f"--name label2city_256_g1 {STREET} --fg --loadSize 256 --n_downsample_G 2 --num_D 1 "
    "--max_frames_per_gpu 6 --n_frames_total 6",
    "street/train_g1_512.sh": f"--name label2city_512_g1 {STREET} --fg --loadSize 512 --n_scales_spatial 2 "
    "--n_downsample_G 2 --max_frames_per_gpu 2 --n_frames_total 4 --niter_step 2 "
    "--niter_fix_global 8 --niter_decay 5 --load_pretrain checkpoints/label2city_256_g1",
    "street/train_g1_1024.sh": f"--name label2city_1024_g1 {STREET} --fg --loadSize 896 --n_scales_spatial 3 "
    "--n_frames_D 2 --n_downsample_G 2 --num_D 3 --max_frames_per_gpu 1 --n_frames_total 4 "
    "--niter_step 2 --niter_fix_global 8 --niter_decay 5 "
    "--load_pretrain checkpoints/label2city_512_g1 --lr 0.0001",
    "street/test_2048.sh": f"--name label2city_2048 {STREET} --fg --loadSize 2048 --n_scales_spatial 3 --use_single_G",
    "street/test_g1_1024.sh": f"--name label2city_1024_g1 {STREET} --fg --loadSize 1024 --n_scales_spatial 3 "
    "--n_downsample_G 2 --use_single_G",
    "face/train_512.sh": f"--name edge2face_512 {FACE} --loadSize 512 --num_D 3 {GPUS} --n_gpus_gen 6 --niter 20 "
    "--niter_decay 20 --n_frames_total 12",
    "face/train_512_bs7.sh": f"--name edge2face_512 {FACE} --loadSize 512 --num_D 3 {GPUS} --n_gpus_gen 8 "
    "--batchSize 7 --niter 20 --niter_decay 20 --n_frames_total 12",
    "face/train_g1_256.sh": f"--name edge2face_256_g1 {FACE} --loadSize 256 --ngf 64 --max_frames_per_gpu 6 "
    "--n_frames_total 12 --niter 20 --niter_decay 20",
    "face/train_g1_512.sh": f"--name edge2face_512_g1 {FACE} --loadSize 512 --n_scales_spatial 2 --num_D 3 --ngf 64 "
    "--n_frames_total 6 --niter_step 2 --niter_fix_global 5 "
    "--load_pretrain checkpoints/edge2face_256_g1",
    "face/test_512.sh": f"--name edge2face_512 {FACE} --loadSize 512 --use_single_G",
    "face/test_g1_256.sh": f"--name edge2face_256_g1 {FACE} --loadSize 256 --ngf 64 --use_single_G",
    "face/test_g1_512.sh": f"--name edge2face_512_g1 {FACE} --n_scales_spatial 2 --loadSize 512 --ngf 64 "
    "--use_single_G",
    "pose/train_256p.sh": f"--name pose2body_256p {POSE} --num_D 2 {CROP} --loadSize 384 --fineSize 256 {GPUS} "
    "--batchSize 8 --max_frames_per_gpu 3 --niter 5 --niter_decay 5 --no_first_img "
    "--n_frames_total 12 --max_t_step 4",
    "pose/train_512p.sh": f"--name pose2body_512p {POSE} --n_scales_spatial 2 --num_D 3 {CROP} --loadSize 768 "
    f"--fineSize 512 {GPUS} --batchSize 8 --no_first_img --n_frames_total 12 --max_t_step 4 "
    "--add_face_disc --niter_fix_global 3 --niter 5 --niter_decay 5 --lr 0.0001 "
    "--load_pretrain checkpoints/pose2body_256p",
    "pose/train_1024p.sh": f"--name pose2body_1024p {POSE} --n_scales_spatial 3 --num_D 4 {CROP} --loadSize 1536 "
    f"--fineSize 1024 {GPUS} --n_gpus_gen 4 --no_first_img --n_frames_total 12 --max_t_step 4 "
    "--add_face_disc --niter_fix_global 3 --niter 5 --niter_decay 5 --lr 0.00005 "
    "--load_pretrain checkpoints/pose2body_512p",
    "pose/train_g1_256p.sh": f"--name pose2body_256p_g1 {POSE} --ngf 64 --num_D 2 {CROP} --loadSize 384 --fineSize 256 "
    "--niter 5 --niter_decay 5 --no_first_img --n_frames_total 12 --max_frames_per_gpu 4 "
    "--max_t_step 4",
    "pose/train_g1_512p.sh": f"--name pose2body_512p_g1 {POSE} --n_scales_spatial 2 --ngf 64 --num_D 3 {CROP} "
    "--loadSize 768 --fineSize 512 --no_first_img --n_frames_total 12 --max_frames_per_gpu 2 "
    "--max_t_step 4 --add_face_disc --niter_fix_global 3 --niter 5 --niter_decay 5 "
    "--lr 0.0001 --load_pretrain checkpoints/pose2body_256p_g1",
    "pose/train_g1_1024p.sh": f"--name pose2body_1024p_g1 {POSE} --n_scales_spatial 3 --num_D 4 --ngf 64 --ndf 32 "
    f"{CROP} --loadSize 1536 --fineSize 1024 --no_first_img --n_frames_total 12 "
    "--max_t_step 4 --add_face_disc --niter_fix_global 3 --niter 5 --niter_decay 5 "
    "--lr 0.00005 --load_pretrain checkpoints/pose2body_512p_g1",
} | {
    f"pose/test_{g1}{size}p.sh": f"--name pose2body_{size}p{run} {POSE} --n_scales_spatial {scales} "
    f"--resize_or_crop scaleHeight --loadSize {size} --no_first_img {ngf}"
    for size, scales in ((256, 1), (512, 2), (1024, 3))
    for g1, run, ngf in (("", "", ""), ("g1_", "_g1", "--ngf 64"))
}


@pytest.fixture(scope="module")
def stub_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a `python` that prints its working directory and arguments."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "python").write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    (folder / "python").chmod(0o755)
    return folder


def run_recipe(stub_bin: Path, script: str, *arguments: str) -> tuple[Path, str, list[str]]:
    """Run a recipe from another folder; return its working directory, program and arguments."""
    run = subprocess.run(
        [ROOT / "scripts" / script, *arguments],
        cwd=stub_bin,
        env=os.environ | {"PATH": f"{stub_bin}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    folder, program, *program_arguments = run.stdout.splitlines()
    return Path(folder), program, program_arguments


def group_by_flag(arguments: list[str]) -> dict[str, list[str]]:
    """Return the values of each flag; a repeated flag is an error."""
    flags: dict[str, list[str]] = {}
    for argument in arguments:
        if argument.startswith("--"):
            assert argument not in flags, argument
            flags[argument] = []
        else:
            flags[next(reversed(flags))].append(argument)
    return flags


@pytest.mark.parametrize("script", RECIPES)
def test_recipe_has_the_published_flags(stub_bin: Path, script: str) -> None:
    folder, program, arguments = run_recipe(stub_bin, script, "--dataroot2", "a folder")
    assert folder == ROOT
    assert program == ("train.py" if "/train" in script else "test.py")
    assert arguments[-2:] == ["--dataroot2", "a folder"]
    assert group_by_flag(arguments[:-2]) == group_by_flag(RECIPES[script].split())


def test_every_script_is_a_recipe() -> None:
    scripts = {
        path.relative_to(ROOT / "scripts").as_posix()
        for mode in ("street", "face", "pose")
        for path in (ROOT / "scripts" / mode).glob("*.sh")
    }
    assert scripts == set(RECIPES)


@pytest.mark.parametrize("script", RECIPES)
def test_parser_accepts_every_recipe(script: str) -> None:
    arguments = RECIPES[script].split()
    options = parse_train(arguments) if "/train" in script else parse_test(arguments)
    assert options.name == group_by_flag(arguments)["--name"][0]
