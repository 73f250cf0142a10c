"""Small runs of train.py and test.py: their files, reproducibility, resuming, overfitting and errors."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from data.dataset import SequenceReader
from data.image_io import read_image_size
from data.sequences import find_sequences
from data.synthetic import make_toy_data
from models.checkpoint import load_generators
from models.inference.first_frame import get_real_images
from models.inference.synthesizer import Synthesizer
from models.networks.generators import build_generator
from models.training.trainer import Trainer
from options import configs
from options.test import parse_test
from tests.programs import read_loss_log, run_program
from tests.tiny import is_bitwise_equal

STREET = "--label_nc 35 --use_instance --fg --loadSize 64"
COLORS = "--loadSize 64 --no_first_img"  # the same label maps as plain images
FACE = "--dataset_mode face --input_nc 15 --loadSize 64"
POSE = "--dataset_mode pose --input_nc 6 --no_first_img --resize_or_crop scaleHeight --loadSize 96 --fineSize 64"

NETWORKS = "--ngf 4 --n_downsample_G 2 --n_blocks 2 --gpu_ids -1 --name run"
TRAINING = (
    "--ndf 4 --num_D 1 --n_layers_D 2 --n_scales_temporal 2 --n_frames_total 4 --max_frames_per_gpu 2 "
    "--niter 1 --niter_decay 1 --niter_step 1 --no_vgg --flow_net dis --nThreads 0 --print_freq 1 --no_html"
)
LEARNING = (
    "--ndf 16 --n_scales_temporal 1 --n_frames_total 4 --max_frames_per_gpu 4 --niter 1 --niter_decay 1 "
    "--clips_per_epoch 150 --lr 0.002 --no_flip --no_vgg --flow_net dis --nThreads 0 --no_html"
)
FRAMES = 6


def train(data: Path, folder: Path, flags: str) -> int:
    """Run train.py with tiny networks; its files go to `folder`/run. Return the exit code."""
    folders = ["--dataroot", str(data), "--checkpoints_dir", str(folder)]
    return run_program("train.py", [*f"{NETWORKS} {TRAINING} {flags}".split(), *folders])


def synthesize_run(data: Path, folder: Path, flags: str) -> int:
    """Run test.py for the run in `folder`/run; results go to `folder`/results."""
    folders = ["--dataroot", str(data), "--checkpoints_dir", str(folder)]
    folders += ["--results_dir", str(folder / "results")]
    return run_program("test.py", [*f"{NETWORKS} {flags}".split(), *folders])


def losses(folder: Path) -> list[str]:
    return read_loss_log(folder / "run")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted((folder / "run").glob("latest_net_*.pth"))
    return {
        f"{file.name} {key}": value
        for file in files
        for key, value in torch.load(file, weights_only=True).items()
    }


# files of each mode


@dataclass(frozen=True)
class Mode:
    """A mode and what its run writes.

    Attributes:
        toy: Kind of synthetic data.
        flags: Flags of train.py and test.py.
        test_flags: Flags of test.py only.
        networks: Names of the saved networks.
        condition_suffix: Suffix of the `real_A` files.
        size: Width and height of the images.
    """

    toy: str
    flags: str
    test_flags: str
    networks: tuple[str, ...]
    condition_suffix: str
    size: tuple[int, int]


COMMON = ("D", "D_T0", "D_T1", "G0")
MODES = {
    "street": Mode("street", STREET, "--use_real_img", COMMON, ".png", (64, 32)),
    "colors": Mode(
        "street", f"{COLORS} --n_scales_spatial 2", "", (*COMMON, "G1"), ".jpg", (64, 32)
    ),
    "face": Mode("face", FACE, "--use_real_img", COMMON, ".jpg", (64, 64)),
    "pose": Mode("pose", POSE, "--use_real_img", COMMON, ".jpg", (64, 96)),
}


@pytest.fixture(scope="module", params=MODES)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Mode, Path]:
    """A run of two epochs on two sequences, and its results on two others."""
    mode = MODES[request.param]
    root = tmp_path_factory.mktemp(request.param)
    data = make_toy_data(
        mode.toy, root / "data", sequences=2, frames=FRAMES, phases=("train", "test")
    )
    face = "--add_face_disc" if mode.toy == "pose" else ""
    training = TRAINING.replace("--no_html", "--display_freq 1 --tf_log")
    folders = ["--dataroot", str(data), "--checkpoints_dir", str(root)]
    train_flags = f"{NETWORKS} {training} {mode.flags} {face}".split()
    assert run_program("train.py", [*train_flags, *folders]) == 0
    assert synthesize_run(data, root, f"{mode.flags} {mode.test_flags} --fps 12") == 0
    return mode, root


def test_training_run_writes_the_published_files(finished: tuple[Mode, Path]) -> None:
    mode, folder = finished[0], finished[1] / "run"
    names = [*mode.networks, *(["D_f"] if mode.toy == "pose" else [])]
    for label in ("1", "2", "latest"):
        assert {f.name for f in folder.glob(f"{label}_net_*.pth")} == {
            f"{label}_net_{name}.pth" for name in names
        }
    assert (folder / "iter.txt").read_text().split() == ["3", "0"]
    assert (folder / "latest_state.pth").is_file() and list(
        (folder / "logs").glob("events.out.tfevents.*")
    )
    options = dict(line.split(": ", 1) for line in (folder / "opt.txt").read_text().splitlines())
    assert (options["ngf"], options["niter_decay"], options["lr"]) == ("4", "1", "0.0002")
    page = (folder / "web/index.html").read_text()
    images = set(re.findall(r'src="(images/[^"]+)"', page))
    assert len(images) >= 5
    assert all((folder / "web" / name).stat().st_size for name in images)


def test_loss_log_has_a_line_for_every_clip(finished: tuple[Mode, Path]) -> None:
    mode, root = finished
    lines = losses(root)
    # As published, an epoch of poses holds one clip for each possible first frame.
    clips_per_epoch = 8 if mode.toy == "pose" else 2
    assert len(lines) == 2 * clips_per_epoch
    for i, line in enumerate(lines):
        head, values = line.split(") ", 1)
        epoch, clip = i // clips_per_epoch + 1, i % clips_per_epoch + 1
        assert head == f"(epoch: {epoch}, iters: {clip}, "
        names = re.findall(r"(\w+): -?\d+\.\d{3}(?:\s|$)", values)
        assert names == sorted(names) and {
            "G_GAN",
            "G_GAN_Feat",
            "D_real",
            "D_fake",
            "F_Flow",
            "F_Warp",
        } <= set(names)
        assert ("W" in names) == ("--no_first_img" in mode.flags) and "G_VGG" not in names


def test_synthesis_writes_the_published_results(finished: tuple[Mode, Path]) -> None:
    mode, root = finished
    results = root / "results/run/test_latest"
    real = ["real_B"] if mode.test_flags else []
    for sequence in ("seq0001", "seq0002"):
        suffixes = {"real_A": mode.condition_suffix, "fake_B": ".jpg"} | dict.fromkeys(real, ".jpg")
        expected = {
            f"{stream}_frame{t:04d}{suffix}"
            for stream, suffix in suffixes.items()
            for t in range(3, FRAMES + 1)
        } | {f"{stream}.mp4" for stream in suffixes}
        assert {file.name for file in (results / sequence).iterdir()} == expected
        assert {read_image_size(file) for file in (results / sequence).glob("*_frame*")} == {
            mode.size
        }
        with av.open(str(results / sequence / "fake_B.mp4")) as video:
            stream = video.streams.video[0]
            assert stream.codec_context.name == "h264" and float(stream.average_rate) == 12
            assert sum(1 for _ in video.decode(video=0)) == FRAMES - 2
    page = (results / "index.html").read_text()
    assert all(
        f"{sequence}/fake_B.mp4" in page and f"{sequence}/fake_B_frame0003.jpg" in page
        for sequence in ("seq0001", "seq0002")
    )


# reproducibility and resuming


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_data(
        "street", tmp_path_factory.mktemp("data"), sequences=3, frames=7, size=(128, 64)
    )


TEN_STEPS = f"{STREET} --clips_per_epoch 5 --niter_decay 0"


@pytest.fixture(scope="module")
def ten_steps(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ten")
    assert train(street, folder, f"{TEN_STEPS} --niter 2") == 0
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_run_is_reproducible_with_any_number_of_workers(
    workers: int, street: Path, ten_steps: Path, tmp_path: Path
) -> None:
    assert train(street, tmp_path, f"{TEN_STEPS} --niter 2 --nThreads {workers}") == 0
    assert losses(tmp_path) == losses(ten_steps) and len(losses(tmp_path)) == 10
    assert is_bitwise_equal(weights(tmp_path), weights(ten_steps))


def test_other_seed_gives_other_results(street: Path, ten_steps: Path, tmp_path: Path) -> None:
    assert train(street, tmp_path, f"{TEN_STEPS} --niter 1 --seed 1") == 0
    assert not set(losses(tmp_path)) & set(losses(ten_steps))


def test_resume_after_five_steps_equals_ten_steps(
    street: Path, ten_steps: Path, tmp_path: Path
) -> None:
    assert train(street, tmp_path, f"{TEN_STEPS} --niter 1") == 0
    assert train(street, tmp_path, f"{TEN_STEPS} --niter 2 --continue_train") == 0
    assert losses(tmp_path) == losses(ten_steps)
    assert is_bitwise_equal(weights(tmp_path), weights(ten_steps))


def test_interrupted_run_resumes_from_its_last_checkpoint(
    street: Path, ten_steps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved after 3 clips, failed after 4: the fourth is trained again, with the same results."""
    train_clip = Trainer.train_clip
    steps = itertools.count(1)

    def train_clip_until_failure(*args: object) -> object:
        if next(steps) == 5:
            raise SystemError("power failure")
        return train_clip(*args)  # type: ignore[arg-type]

    flags = f"{TEN_STEPS} --niter 2 --save_latest_freq 3"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_clip", train_clip_until_failure)
        with pytest.raises(SystemError, match="power failure"):
            train(street, tmp_path, flags)
    assert (tmp_path / "run/iter.txt").read_text().split() == ["1", "3"]
    assert train(street, tmp_path, f"{flags} --continue_train") == 0
    log = losses(tmp_path)
    assert log[:4] == losses(ten_steps)[:4] and log[4:] == losses(ten_steps)[3:]
    assert is_bitwise_equal(weights(tmp_path), weights(ten_steps))


def test_finer_stage_initializes_from_a_coarser_one(
    street: Path, ten_steps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finer = f"{STREET} --n_scales_spatial 2 --niter_fix_global 9 --clips_per_epoch 1"
    assert train(street, tmp_path, f"{finer} --load_pretrain {ten_steps / 'run'}") == 0
    assert "G1 starts fresh" in capsys.readouterr().out
    # Running statistics of norms change, although the coarse generator is not trained.
    coarse = {
        key: value
        for key, value in weights(tmp_path).items()
        if key.startswith("latest_net_G0") and "running" not in key and "tracked" not in key
    }
    assert coarse
    assert is_bitwise_equal(coarse, {key: weights(ten_steps)[key] for key in coarse})


def test_ema_generator_is_used_on_request(street: Path, tmp_path: Path) -> None:
    """`--use_ema` gives the images of the averaged weights under the generator's file name."""
    assert train(street, tmp_path, f"{TEN_STEPS} --niter 1 --ema 4 --lr 0.01") == 0

    def generate(flags: str) -> dict[str, bytes]:
        flags = f"{STREET} --phase train --use_real_img --how_many 6 {flags}"
        assert synthesize_run(street, tmp_path, flags) == 0
        results = tmp_path / "results/run/train_latest"
        return {path.name: path.read_bytes() for path in sorted(results.rglob("fake_B_*.jpg"))}

    trained, averaged = generate(""), generate("--use_ema")
    (tmp_path / "run/latest_net_G0_ema.pth").replace(tmp_path / "run/latest_net_G0.pth")
    assert generate("") == averaged
    assert trained.keys() == averaged.keys()
    assert all(trained[name] != averaged[name] for name in trained)


# overfitting


def psnr(fake: torch.Tensor, real: torch.Tensor) -> float:
    """Return the PSNR in dB of images in [-1, 1], before compression."""
    return float(10 * torch.log10(4 / (fake - real).square().mean()))


def test_overfits_one_clip(tmp_path: Path) -> None:
    """Generates four frames after two real ones; repeating the last real one gives 20 dB at the end."""
    data = make_toy_data("street", tmp_path / "data", sequences=1, frames=6, size=(128, 64), seed=1)
    network = "--label_nc 35 --loadSize 64 --ngf 16 --n_downsample_G 2 --n_blocks 2"
    folders = ["--name", "run", "--dataroot", str(data), "--checkpoints_dir", str(tmp_path)]
    common = [*network.split(), "--gpu_ids", "-1", *folders]
    assert run_program("train.py", [*common, *LEARNING.split()]) == 0
    options = parse_test([*common, "--phase", "train", "--use_real_img"])
    frame_reader = configs.build_frame_reader(options)
    networks = build_generator(configs.generator_config(options))
    load_generators(networks, tmp_path / "run", "latest")
    (sequence,) = find_sequences(data, "train", frame_reader.folder_specs(uses_images=True))
    frames = list(SequenceReader(frame_reader, sequence, configs.transform_config(options)))
    cpu = torch.device("cpu")
    config = configs.synthesis_config(options)
    synthesizer = Synthesizer.from_generators(networks, config, get_real_images)
    fake = [image for _, image in synthesizer.synthesize(frames)]
    real = [frame.to(cpu).image[0] for frame in frames]
    assert min(psnr(a, b) for a, b in zip(fake, real[2:], strict=True)) >= 28
    assert psnr(real[1], real[-1]) < 22


# invalid input


def set_invalid_label(data: Path) -> None:
    file = sorted((data / "train_A/seq0002").iterdir())[4]
    labels = np.array(Image.open(file))
    labels[0, 0] = 35
    Image.fromarray(labels).save(file)


def truncate_image(data: Path) -> None:
    file = sorted((data / "train_B/seq0002").iterdir())[4]
    file.write_bytes(file.read_bytes()[:200])


def shorten_sequence(data: Path) -> None:
    for stream in ("A", "B", "inst"):
        for file in sorted((data / f"train_{stream}/seq0002").iterdir())[2:]:
            file.unlink()


def remove_frame(data: Path) -> None:
    sorted((data / "train_B/seq0002").iterdir())[4].unlink()


def remove_sequence(data: Path) -> None:
    for file in (data / "train_inst/seq0002").iterdir():
        file.unlink()
    (data / "train_inst/seq0002").rmdir()


def remove_images(data: Path) -> None:
    (data / "train_B").rename(data / "B")


def remove_keypoint(data: Path) -> None:
    file = sorted((data / "train_keypoints/seq0002").iterdir())[4]
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:67]))


def keep_data(data: Path) -> None:
    """Change nothing: the flags are invalid."""


INVALID = [
    ("street", remove_images, "", ["train_B", "--dataroot"]),
    ("street", remove_frame, "", ["train_A/seq0002 holds 6 frames", "train_B/seq0002 holds 5"]),
    ("street", remove_sequence, "", ["train_A holds 2 sequence folders", "train_inst holds 1"]),
    ("street", set_invalid_label, "", ["train_A/seq0002/frame0005.png", "label 35", "0..34"]),
    ("street", truncate_image, "", ["train_B/seq0002/frame0005.png", "not an image"]),
    ("street", shorten_sequence, "", ["seq0002 has 2 frames", "--n_frames_G 3"]),
    ("face", remove_keypoint, "", ["train_keypoints/seq0002/frame0005.txt", "67 lines", "68"]),
    ("street", keep_data, "--max_dataset_size 0", ["--max_dataset_size 0", "at least 1"]),
    ("street", keep_data, "--clips_per_epoch 0", ["--clips_per_epoch 0", "at least 1"]),
    ("street", keep_data, "--gpu_ids 99", ["--gpu_ids 99"]),
    (
        "street",
        keep_data,
        "--load_pretrain nowhere",
        ["nowhere/latest_net_G0.pth", "--load_pretrain"],
    ),
    ("street", keep_data, "--continue_train", ["latest_state.pth", "--continue_train"]),
    ("street", keep_data, "--resize_or_crop wide", ["--resize_or_crop wide"]),
]


@pytest.mark.parametrize(("toy", "change_data", "flags", "expected"), INVALID)
def test_bad_input_is_refused_before_training_in_one_line(
    toy: str,
    change_data: Callable[[Path], None],
    flags: str,
    expected: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_toy_data(toy, tmp_path / "data", sequences=2, frames=6, size=(96, 96))
    change_data(data)
    monkeypatch.setattr(Trainer, "train_clip", lambda *_: pytest.fail("training began"))
    assert train(data, tmp_path, f"{STREET if toy == 'street' else FACE} {flags}") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert all(text in lines[0] for text in expected), lines[0]
