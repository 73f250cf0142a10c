"""Small runs of train.py and test.py from end to end: what they write, that they repeat, go on, learn and refuse."""

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
from tests.programs import run_program

STREET = "--label_nc 35 --use_instance --fg --loadSize 64"
COLOURS = "--loadSize 64 --no_first_img"  # the same label maps as plain images
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
    """A tiny run with its files under `folder`/run."""
    return run_program(
        "train.py",
        [
            *f"{NETWORKS} {TRAINING} {flags}".split(),
            "--dataroot",
            str(data),
            "--checkpoints_dir",
            str(folder),
        ],
    )


def losses(folder: Path) -> list[str]:
    """The log without its times."""
    lines = (folder / "run/loss_log.txt").read_text().splitlines()
    return [re.sub(r"time: [\d.]+", "", line) for line in lines if line.startswith("(")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted((folder / "run").glob("latest_net_*.pth"))
    return {
        f"{file.name} {key}": value
        for file in files
        for key, value in torch.load(file, weights_only=True).items()
    }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


# each mode writes what is promised


@dataclass(frozen=True)
class Mode:
    """condition: the suffix of `real_A`. size: (w, h) of the images."""

    toy: str
    flags: str
    synthesis: str
    networks: tuple[str, ...]
    condition: str
    size: tuple[int, int]


COMMON = ("D", "D_T0", "D_T1", "G0")
MODES = {
    "street": Mode("street", STREET, "--use_real_img", COMMON, ".png", (64, 32)),
    "colours": Mode(
        "street", f"{COLOURS} --n_scales_spatial 2", "", (*COMMON, "G1"), ".jpg", (64, 32)
    ),
    "face": Mode("face", FACE, "--use_real_img", COMMON, ".jpg", (64, 64)),
    "pose": Mode("pose", POSE, "--use_real_img", COMMON, ".jpg", (64, 96)),
}


@pytest.fixture(scope="module", params=MODES)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Mode, Path]:
    """A run of two epochs on two sequences, and what it then made of two others."""
    mode, root = MODES[request.param], tmp_path_factory.mktemp(request.param)
    data = make_toy_data(
        mode.toy, root / "data", sequences=2, frames=FRAMES, phases=("train", "test")
    )
    face = "--add_face_disc" if mode.toy == "pose" else ""
    flags = mode.flags.replace("--no_html", "")
    assert (
        run_program(
            "train.py",
            [
                *f"{NETWORKS} {TRAINING.replace('--no_html', '--display_freq 1 --tf_log')}".split(),
                *f"{flags} {face}".split(),
                "--dataroot",
                str(data),
                "--checkpoints_dir",
                str(root),
            ],
        )
        == 0
    )
    assert (
        run_program(
            "test.py",
            [
                *f"{NETWORKS} {flags} {mode.synthesis} --fps 12 --dataroot {data}".split(),
                "--checkpoints_dir",
                str(root),
                "--results_dir",
                str(root / "results"),
            ],
        )
        == 0
    )
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
    shown = set(re.findall(r'src="(images/[^"]+)"', page))
    assert len(shown) >= 5 and all((folder / "web" / name).stat().st_size for name in shown)


def test_loss_log_has_a_line_for_every_clip(finished: tuple[Mode, Path]) -> None:
    mode, root = finished
    lines = losses(root)
    per_epoch = (
        8 if mode.toy == "pose" else 2
    )  # pose: one for each possible start, sum(len - tG + 1)
    assert len(lines) == 2 * per_epoch
    for number, line in enumerate(lines):
        head, terms = line.split(") ", 1)
        assert head == f"(epoch: {number // per_epoch + 1}, iters: {number % per_epoch + 1}, "
        names = re.findall(r"(\w+): -?\d+\.\d{3}(?:\s|$)", terms)
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
    real = ["real_B"] if mode.synthesis else []
    for sequence in ("seq0001", "seq0002"):
        suffixes = {"real_A": mode.condition, "fake_B": ".jpg"} | dict.fromkeys(real, ".jpg")
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


# runs repeat and go on


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_data(
        "street", tmp_path_factory.mktemp("data"), sequences=3, frames=7, size=(128, 64)
    )


TEN = f"{STREET} --clips_per_epoch 5 --niter_decay 0"


@pytest.fixture(scope="module")
def ten_steps(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ten")
    assert train(street, folder, f"{TEN} --niter 2") == 0
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_run_is_reproducible_with_any_number_of_workers(
    workers: int, street: Path, ten_steps: Path, tmp_path: Path
) -> None:
    assert train(street, tmp_path, f"{TEN} --niter 2 --nThreads {workers}") == 0
    assert losses(tmp_path) == losses(ten_steps) and len(losses(tmp_path)) == 10
    assert same(weights(tmp_path), weights(ten_steps))


def test_other_seed_gives_other_results(street: Path, ten_steps: Path, tmp_path: Path) -> None:
    assert train(street, tmp_path, f"{TEN} --niter 1 --seed 1") == 0
    assert not set(losses(tmp_path)) & set(losses(ten_steps))


def test_resume_after_five_steps_equals_ten_steps(
    street: Path, ten_steps: Path, tmp_path: Path
) -> None:
    assert train(street, tmp_path, f"{TEN} --niter 1") == 0
    assert train(street, tmp_path, f"{TEN} --niter 2 --continue_train") == 0
    assert losses(tmp_path) == losses(ten_steps)
    assert same(weights(tmp_path), weights(ten_steps))


def test_interrupted_run_resumes_from_its_last_checkpoint(
    street: Path, ten_steps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved after 3 clips, dead after 4: the fourth is trained again, to the same end."""
    whole, steps = Trainer.train_clip, []

    def until_the_power_fails(*args: object) -> object:
        steps.append(1)
        if len(steps) == 5:
            raise SystemError("power failure")
        return whole(*args)

    flags = f"{TEN} --niter 2 --save_latest_freq 3"
    with monkeypatch.context() as power:
        power.setattr(Trainer, "train_clip", until_the_power_fails)
        with pytest.raises(SystemError, match="power failure"):
            train(street, tmp_path, flags)
    assert (tmp_path / "run/iter.txt").read_text().split() == ["1", "3"]
    assert train(street, tmp_path, f"{flags} --continue_train") == 0
    log = losses(tmp_path)
    assert log[:4] == losses(ten_steps)[:4] and log[4:] == losses(ten_steps)[3:]
    assert same(weights(tmp_path), weights(ten_steps))


def test_finer_stage_initializes_from_a_coarser_one(
    street: Path, ten_steps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finer = f"{STREET} --n_scales_spatial 2 --niter_fix_global 9 --clips_per_epoch 1"
    assert train(street, tmp_path, f"{finer} --load_pretrain {ten_steps / 'run'}") == 0
    assert "G1 starts fresh" in capsys.readouterr().out
    coarse = {
        key: value
        for key, value in weights(tmp_path).items()
        if key.startswith("latest_net_G0") and "running" not in key and "tracked" not in key
    }  # norms count on
    assert coarse
    assert same(coarse, {key: weights(ten_steps)[key] for key in coarse})


def test_ema_generator_is_used_on_request(street: Path, tmp_path: Path) -> None:
    """`--use_ema` is what the average's weights under the generator's own name give."""
    assert train(street, tmp_path, f"{TEN} --niter 1 --ema 4 --lr 0.01") == 0

    def painted(flags: str) -> dict[str, bytes]:
        flags = f"{NETWORKS} {STREET} --phase train --use_real_img --how_many 6 {flags}"
        assert (
            run_program(
                "test.py",
                [
                    *flags.split(),
                    "--dataroot",
                    str(street),
                    "--checkpoints_dir",
                    str(tmp_path),
                    "--results_dir",
                    str(tmp_path / "results"),
                ],
            )
            == 0
        )
        results = tmp_path / "results/run/train_latest"
        return {path.name: path.read_bytes() for path in sorted(results.rglob("fake_B_*.jpg"))}

    own, averaged = painted(""), painted("--use_ema")
    (tmp_path / "run/latest_net_G0_ema.pth").replace(tmp_path / "run/latest_net_G0.pth")
    assert painted("") == averaged and own.keys() == averaged.keys()
    assert all(own[name] != averaged[name] for name in own)


# runs learn


def psnr(made: torch.Tensor, real: torch.Tensor) -> float:
    """Of images in [-1, 1], in dB, before any compression."""
    return float(10 * torch.log10(4 / (made - real).square().mean()))


def test_overfits_one_clip(tmp_path: Path) -> None:
    """Four frames of a street after two given ones; repeating the last of those gives 20 dB at the end."""
    data = make_toy_data("street", tmp_path / "data", sequences=1, frames=6, size=(128, 64), seed=1)
    common = [
        "--label_nc",
        "35",
        "--loadSize",
        "64",
        "--ngf",
        "16",
        "--n_downsample_G",
        "2",
        "--n_blocks",
        "2",
        "--gpu_ids",
        "-1",
        "--name",
        "run",
        "--dataroot",
        str(data),
        "--checkpoints_dir",
        str(tmp_path),
    ]
    assert run_program("train.py", [*common, *LEARNING.split()]) == 0
    options = parse_test([*common, "--phase", "train", "--use_real_img"])
    domain, networks = (
        configs.build_frame_reader(options),
        build_generator(configs.generator_config(options)),
    )
    load_generators(networks, tmp_path / "run", "latest")
    (sequence,) = find_sequences(data, "train", domain.folder_specs(uses_images=True))
    frames = list(SequenceReader(domain, sequence, configs.transform_config(options)))
    made = [
        image
        for _, image in Synthesizer.from_generators(
            networks, configs.synthesis_config(options), get_real_images
        ).synthesize(frames)
    ]
    real = [frame.to(torch.device("cpu")).image[0] for frame in frames]
    assert min(psnr(a, b) for a, b in zip(made, real[2:], strict=True)) >= 28
    assert psnr(real[1], real[-1]) < 22


# bad input


def renumbered(data: Path) -> None:
    file = sorted((data / "train_A/seq0002").iterdir())[4]
    labels = np.array(Image.open(file))
    labels[0, 0] = 35
    Image.fromarray(labels).save(file)


def undecodable(data: Path) -> None:
    file = sorted((data / "train_B/seq0002").iterdir())[4]
    file.write_bytes(file.read_bytes()[:200])


def shorter(data: Path) -> None:
    for stream in ("A", "B", "inst"):
        for file in sorted((data / f"train_{stream}/seq0002").iterdir())[2:]:
            file.unlink()


def one_frame_less(data: Path) -> None:
    sorted((data / "train_B/seq0002").iterdir())[4].unlink()


def one_sequence_less(data: Path) -> None:
    for file in (data / "train_inst/seq0002").iterdir():
        file.unlink()
    (data / "train_inst/seq0002").rmdir()


def no_images(data: Path) -> None:
    (data / "train_B").rename(data / "B")


def one_line_less(data: Path) -> None:
    file = sorted((data / "train_keypoints/seq0002").iterdir())[4]
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:67]))


def untouched(data: Path) -> None:
    """The flags are at fault."""


BAD = [
    ("street", no_images, "", ["train_B", "--dataroot"]),
    ("street", one_frame_less, "", ["train_A/seq0002 holds 6 frames", "train_B/seq0002 holds 5"]),
    ("street", one_sequence_less, "", ["train_A holds 2 sequence folders", "train_inst holds 1"]),
    ("street", renumbered, "", ["train_A/seq0002/frame0005.png", "label 35", "0..34"]),
    ("street", undecodable, "", ["train_B/seq0002/frame0005.png", "not an image"]),
    ("street", shorter, "", ["seq0002 has 2 frames", "--n_frames_G 3"]),
    ("face", one_line_less, "", ["train_keypoints/seq0002/frame0005.txt", "67 lines", "68"]),
    ("street", untouched, "--max_dataset_size 0", ["--max_dataset_size 0", "at least 1"]),
    ("street", untouched, "--clips_per_epoch 0", ["--clips_per_epoch 0", "at least 1"]),
    ("street", untouched, "--gpu_ids 99", ["--gpu_ids 99"]),
    (
        "street",
        untouched,
        "--load_pretrain nowhere",
        ["nowhere/latest_net_G0.pth", "--load_pretrain"],
    ),
    ("street", untouched, "--continue_train", ["latest_state.pth", "--continue_train"]),
    ("street", untouched, "--resize_or_crop wide", ["--resize_or_crop wide"]),
]


@pytest.mark.parametrize(("toy", "spoil", "flags", "named"), BAD)
def test_bad_input_is_refused_before_training_in_one_line(
    toy: str,
    spoil: Callable[[Path], None],
    flags: str,
    named: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_toy_data(toy, tmp_path / "data", sequences=2, frames=6, size=(96, 96))
    spoil(data)
    monkeypatch.setattr(Trainer, "train_clip", lambda *_: pytest.fail("training began"))
    assert train(data, tmp_path, f"{STREET if toy == 'street' else FACE} {flags}") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert all(name in lines[0] for name in named), lines[0]
