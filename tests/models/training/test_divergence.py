"""Detection of divergence: on sequences of indicators, and on runs that do diverge."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.losses.functional import gan_loss
from models.losses.vid2vid import LossConfig
from models.training.callbacks import ClipCounter, LogLosses, WarnOfDivergence
from models.training.divergence import (
    DivergenceMonitor,
    compute_health_indicators,
    compute_pixel_std,
)
from models.training.resume import RunState
from models.training.schedule import compute_epoch_settings
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options, tiny_trainer
from util.run_logger import NullLogger, RunLogger

HEALTHY = {"D": 0.7, "image": 0.9}


@pytest.mark.parametrize("mode", ["ls", "original", "hinge"])
def test_chance_discriminator_loss_is_one_and_perfect_is_near_zero(mode: str) -> None:
    """D scores the image and the raw image at two scales, D_T the image only."""
    config = LossConfig(gan_mode=mode, num_D=2)  # type: ignore[arg-type]
    chance_score = {"ls": 0.5, "original": 0.0, "hinge": 0.0}[mode]
    perfect_scores = {"ls": (1.0, 0.0), "original": (20.0, -20.0), "hinge": (2.0, -2.0)}[mode]

    def losses(real: float, fake: float) -> dict[str, float]:
        real_loss, fake_loss = (
            float(gan_loss([[torch.full((1, 1, 3, 3), score)]] * 2, is_real, mode))  # type: ignore[arg-type]
            for score, is_real in ((real, True), (fake, False))
        )
        return {
            "D_real": 2 * real_loss,
            "D_fake": 2 * fake_loss,
            "D_T_real0": real_loss + 1e-9,
            "D_T_fake0": fake_loss,
        }

    at_chance = compute_health_indicators(losses(chance_score, chance_score), (0.5, 0.5), config)
    assert at_chance == {name: pytest.approx(1) for name in ("D", "D_T0", "image")}
    perfect = compute_health_indicators(losses(*perfect_scores), (0.0, 0.5), config)
    assert all(value < 1e-6 for value in perfect.values()) and perfect["image"] == 0
    # A discriminator that scores everything as real is not ahead.
    always_real = losses(perfect_scores[0], perfect_scores[0])
    assert compute_health_indicators(always_real, (0.5, 0.5), config)["D"] >= 1


def test_absent_face_and_constant_images_cause_no_warning() -> None:
    """The losses of an absent face are 0, and constant real frames excuse constant fakes."""
    losses = {"D_f_real": 0.0, "D_f_fake": 0.0}
    assert compute_health_indicators(losses, (0.0, 0.0), LossConfig()) == {}


def test_pixel_std_is_computed_per_frame() -> None:
    """Frames of one color each have a standard deviation of 0, however their colors differ."""
    generator = torch.Generator().manual_seed(0)
    fake = torch.rand(1, 2, 3, 32, 48, generator=generator)
    real = torch.rand(1, 2, 3, 1, 1, generator=generator).expand_as(fake)
    fake_std, real_std = compute_pixel_std(fake, real).tolist()
    assert real_std == pytest.approx(0, abs=1e-6)
    assert fake_std == pytest.approx(12**-0.5, rel=0.05)  # of a uniform distribution


def test_one_warning_per_divergence() -> None:
    monitor = DivergenceMonitor(n_batches=10)
    phases = {
        "healthy": ([HEALTHY] * 100, 0),
        "D overpowers G": ([HEALTHY | {"D": 0.01}] * 100, 1),
        "D hovers at the threshold": ([HEALTHY | {"D": value} for value in (0.04, 0.06) * 50], 0),
        "recovery": ([HEALTHY] * 50, 0),
        "D overpowers G again, and the image is constant": ([{"D": 0.01, "image": 0.0}] * 100, 2),
        "clips without indicators": ([{}] * 3, 0),
    }
    for phase, (batches, n_warnings) in phases.items():
        warnings = [line for indicators in batches for line in monitor.update(indicators)]
        assert len(warnings) == n_warnings, phase
    assert monitor.update({"D_T0": 0.0}) == []  # one bad batch causes no warning


def test_warning_names_the_network_and_the_remedy() -> None:
    monitor = DivergenceMonitor(n_batches=1)
    overpowered, constant = monitor.update({"D_T1": 0.0, "image": 0.0})
    assert overpowered.startswith("D_T1 has overpowered the generator") and constant.startswith(
        "the generated image has become constant"
    )
    flags = {flag for line in (overpowered, constant) for flag in re.findall(r"--(\w+)", line)}
    assert flags >= {"lr", "r1", "spectral_norm", "grad_clip", "ema"}
    assert all(hasattr(tiny_options(), flag) for flag in flags)


def train_diverging_run(tmp_path: Path, batches: int, zeroed_part: str = "") -> Path:
    """Return the folder of a run of some batches of one clip, whose generator is not updated.

    zeroed_part: The part of the generator whose weights are set to 0.
    """
    options = tiny_options(
        f"--label_nc 5 --n_frames_total 2 --max_frames_per_gpu 2 --lr 0.003 --norm instance "
        f"--n_scales_temporal 0 --no_flow --checkpoints_dir {tmp_path}"
    )
    networks = tiny_networks(options)
    trainer = tiny_trainer(options, networks)
    folder = tmp_path / "experiment_name"
    logger = RunLogger(folder, NullLogger(), None)
    trainer = replace(
        trainer,
        config=replace(trainer.config, steps_per_epoch=batches),
        step_callbacks=[
            WarnOfDivergence(logger, configs.loss_config(options), DivergenceMonitor(n_batches=5)),
            LogLosses(logger, ClipCounter(batches), print_freq=1),
        ],
    )
    trainer.optimizers["G"].param_groups[0]["lr"] = 0.0
    if zeroed_part:
        with torch.no_grad():
            for weight in networks.netG.get_submodule(zeroed_part).parameters():
                weight.zero_()
    clip = street_clip(4, 32, 48, load=2)
    trainer.train_epoch(
        iter([clip] * batches), RunState(), compute_epoch_settings(1, trainer.config.schedule)
    )
    return tmp_path / "experiment_name"


def test_discriminator_dominance_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train_diverging_run(tmp_path, 150)
    warnings = (folder / "warnings.txt").read_text().splitlines()
    assert warnings and all(
        re.match(r"\(epoch: 1, iters: \d+\) D has overpowered", line) for line in warnings
    )
    assert (
        capsys.readouterr().err.count("warning: D has overpowered") == len(warnings) < 5
    )  # it may recover in between
    last = (folder / "loss_log.txt").read_text().splitlines()[-1]
    names = dict(part.split(": ") for part in re.findall(r"\w+: [\d.]+", last.split(") ")[1]))
    assert (
        float(names["D_real"]) + float(names["D_fake"]) < 0.05 and float(names["G_GAN"]) > 3
    )  # 4 scores of about 1


def test_constant_image_is_reported(tmp_path: Path) -> None:
    folder = train_diverging_run(tmp_path, 30, "0.model_final_img")
    assert "the generated image has become constant" in (folder / "warnings.txt").read_text()


def test_threshold_matches_the_warning_text() -> None:
    """The running mean of a step from 1 to 0 falls below 5 % after ln 20 times the number of batches."""
    monitor = DivergenceMonitor(n_batches=100)
    steps = next(step for step in range(1, 1000) if monitor.update({"D": 0.0}))
    assert steps == math.ceil(math.log(0.05) / math.log(0.99))
