"""Distillation: its loss, the frozen teacher, several device groups, and invalid teachers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import save_weights
from models.losses.distillation import compute_distillation_losses, load_teacher
from models.losses.vid2vid import LossConfig
from models.networks.rollout import History, RolloutConfig, rollout
from models.training.schedule import compute_epoch_settings
from models.training.trainer import Trainer
from options import configs
from options.parsing import format_opt_file
from options.train import parse_train
from tests.tiny import (
    TINY_FLAGS,
    street_clip,
    tiny_forward,
    tiny_networks,
    tiny_options,
    tiny_trainer,
)
from util.clip import Clip
from util.errors import UserError

TeacherRun = tuple[Path, nn.ModuleList]
RUN = "--label_nc 5 --n_frames_total 4 --max_frames_per_gpu 2 --lr 0 --norm instance"


@pytest.fixture
def teacher_run(tmp_path: Path) -> TeacherRun:
    """The folder and the generators of a run that is wider than its student."""
    options = tiny_options(f"{RUN} --ngf 16")
    networks = tiny_networks(options, seed=3)
    save_weights(tmp_path, "latest", networks)
    (tmp_path / "opt.txt").write_text(format_opt_file(options))
    return tmp_path, networks.netG


def make_student_trainer(folder: Path, flags: str = "") -> Trainer:
    options = tiny_options(f"{RUN} --distill_from {folder} {flags}")
    teacher = load_teacher(configs.teacher_config(options), folder)
    networks = tiny_networks(options)
    return tiny_trainer(options, networks, tiny_forward(options, networks, teacher=teacher))


def losses_by_window(trainer: Trainer, clip: Clip) -> list[dict[str, float]]:
    """Return the losses of all windows of a clip, each followed by a step."""
    schedule = trainer.config.schedule
    settings, state, losses = compute_epoch_settings(1, schedule), None, []
    for window in clip.split_into_windows(schedule.n_frames_G):
        output = trainer.forward(window, state, settings)
        losses.append(trainer.optimize(output, settings)[0])
        state = output.state
    return losses


def test_teacher_images_come_from_the_teachers_own_history(teacher_run: TeacherRun) -> None:
    folder, teacher = teacher_run
    trainer, clip = make_student_trainer(folder), street_clip(6, 16, 24, load=2)
    condition = trainer.forward.forwards[0].config.conditions.encode_dense(clip)
    config = RolloutConfig(3)
    with torch.no_grad():
        history = History.from_first_images(clip.image[:, :2], 1)
        target, _ = rollout(teacher, condition, history, config)
        output, _ = rollout(trainer.networks.netG, condition, history, config)
    windows = losses_by_window(trainer, clip)
    for i, losses in enumerate(windows):
        frames = slice(2 * i, 2 * i + 2)
        distances = [
            F.l1_loss(x[:, frames], target.image[:, frames])
            for x in (output.image, output.raw_image)
        ]
        assert losses["G_Distill"] == pytest.approx(10 * float(sum(distances)), rel=1e-4)
    assert len(windows) == 2


def test_distillation_loss_is_zero_when_student_equals_teacher(teacher_run: TeacherRun) -> None:
    folder, teacher = teacher_run
    trainer = make_student_trainer(folder, "--ngf 16")
    trainer.networks.netG.load_state_dict(teacher.state_dict())
    clip = street_clip(4, 16, 24, load=2)
    settings = compute_epoch_settings(1, trainer.config.schedule)
    with torch.no_grad():
        window = trainer.forward(clip, None, settings).generated
    torch.testing.assert_close(window.teacher_images, window.output.image)
    window = replace(window, teacher_images=window.output.image.detach())
    config = LossConfig(should_score_raw=False, lambda_distill=7.0)
    losses = compute_distillation_losses(None, window, config)
    assert losses.generator["G_Distill"] == 0

    window = replace(window, teacher_images=window.teacher_images + 0.5)
    losses = compute_distillation_losses(None, window, config)
    assert float(losses.generator["G_Distill"]) == pytest.approx(7 * 0.5)
    losses = compute_distillation_losses(mean_square, window, config)
    assert float(losses.generator["G_Distill"]) == pytest.approx(7 * (0.5 + 0.5**2))


def mean_square(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean()


def test_teacher_is_frozen_and_not_saved(teacher_run: TeacherRun) -> None:
    folder, teacher = teacher_run
    trainer = make_student_trainer(folder, "--lr 0.01")
    trainer.train_clip(
        street_clip(4, 16, 24, load=2), compute_epoch_settings(1, trainer.config.schedule)
    )
    frozen = trainer.forward.forwards[0].teacher
    assert all(
        torch.equal(a, b)
        for a, b in zip(frozen.state_dict().values(), teacher.state_dict().values(), strict=True)
    )
    assert all(weight.grad is None and not weight.requires_grad for weight in frozen.parameters())
    assert set(trainer.networks.named_networks()) == {"G0", "D", "D_T0"}


def test_distillation_is_the_same_on_several_device_groups(teacher_run: TeacherRun) -> None:
    folder, _ = teacher_run
    losses = []
    for flags in ("", "--gpu_ids cpu,cpu"):
        trainer = make_student_trainer(folder, f"--batchSize 2 {flags}")
        clip = street_clip(6, 16, 24, load=2, batch=2)
        losses.append([window["G_Distill"] for window in losses_by_window(trainer, clip)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--label_nc 6", "--label_nc 6 here, 5 in --distill_from"),
        ("--n_frames_G 2", "--n_frames_G 2 here, 3 in"),
        ("--n_scales_spatial 2", "--n_scales_spatial 2 here, 1 in"),
        ("--no_first_img", "--no_first_img True here, False"),
        ("--use_instance", "--use_instance True here"),
    ],
)
def test_contradicting_options_are_named(teacher_run: TeacherRun, flags: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        configs.teacher_config(
            parse_train(
                [*TINY_FLAGS.split(), *f"{RUN} --distill_from {teacher_run[0]} {flags}".split()]
            )
        )


def test_missing_teacher_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"opt.txt does not exist: .* --distill_from"):
        configs.teacher_config(tiny_options(f"{RUN} --distill_from {tmp_path}"))
    with pytest.raises(UserError, match=r"latest_net_G0\.pth"):
        load_teacher(configs.generator_config(tiny_options(RUN)), tmp_path)


def test_size_multiple_includes_the_teacher(teacher_run: TeacherRun) -> None:
    assert (
        configs.size_multiple(
            tiny_options(f"{RUN} --n_downsample_G 1 --distill_from {teacher_run[0]}")
        )
        == 4
    )


def test_no_distillation_loss_without_a_teacher() -> None:
    options = tiny_options(RUN)
    networks = tiny_networks(options)
    trainer = tiny_trainer(options, networks)
    assert trainer.forward.forwards[0].teacher is None
    losses = trainer.train_clip(
        street_clip(3, 16, 24),
        compute_epoch_settings(1, configs.schedule_config(options, 3, 1)),
    ).losses
    assert "G_Distill" not in losses
