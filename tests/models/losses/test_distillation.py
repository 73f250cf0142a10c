"""A student beside its teacher: what it is asked for, that the teacher stays as it is, and that groups agree."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from models.checkpoint import save_weights
from models.losses.distillation import compute_distillation_losses, load_teacher
from models.losses.vid2vid import LossConfig
from models.networks.rollout import History, RolloutConfig, rollout
from models.training.schedule import compute_epoch_settings
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
from util.errors import UserError

RUN = "--label_nc 5 --n_frames_total 4 --max_frames_per_gpu 2 --lr 0 --norm instance"


@pytest.fixture
def taught(tmp_path):
    """A trained run's folder, wider than its student."""
    options = tiny_options(f"{RUN} --ngf 16")
    networks = tiny_networks(options, seed=3)
    save_weights(tmp_path, "latest", networks)
    (tmp_path / "opt.txt").write_text(format_opt_file(options))
    return tmp_path, networks.netG


def student_of(folder, flags=""):
    options = tiny_options(f"{RUN} --distill_from {folder} {flags}")
    teacher = load_teacher(configs.teacher_config(options), folder)
    networks = tiny_networks(options)
    return tiny_trainer(options, networks, tiny_forward(options, networks, teacher=teacher))


def losses_by_window(trainer, clip):
    """Return the losses of all windows of a clip, each followed by a step."""
    schedule = trainer.config.schedule
    settings, state, losses = compute_epoch_settings(1, schedule), None, []
    for window in clip.split_into_windows(schedule.n_frames_G):
        output = trainer.forward(window, state, settings)
        losses.append(trainer.optimize(output, settings)[0])
        state = output.state
    return losses


def test_teacher_images_come_from_the_teachers_own_history(taught):
    folder, teacher = taught
    trainer, clip = student_of(folder), street_clip(6, 16, 24, load=2)
    condition = trainer.forward.forwards[0].config.conditions.encode_dense(clip)
    config = RolloutConfig(3)
    with torch.no_grad():
        wanted, _ = rollout(
            teacher, condition, History.from_first_images(clip.image[:, :2], 1), config
        )
        made, _ = rollout(
            trainer.networks.netG,
            condition,
            History.from_first_images(clip.image[:, :2], 1),
            config,
        )
    found = losses_by_window(trainer, clip)
    for window, losses in enumerate(found):
        frames = slice(2 * window, 2 * window + 2)
        expected = (
            sum(
                F.l1_loss(x[:, frames], wanted.image[:, frames])
                for x in (made.image, made.raw_image)
            )
            * 10
        )
        assert losses["G_Distill"] == pytest.approx(float(expected), rel=1e-4)
    assert len(found) == 2


def test_distillation_loss_is_zero_when_student_equals_teacher(taught):
    folder, teacher = taught
    trainer = student_of(folder, "--ngf 16")
    trainer.networks.netG.load_state_dict(teacher.state_dict())
    clip = street_clip(4, 16, 24, load=2)
    settings = compute_epoch_settings(1, trainer.config.schedule)
    with torch.no_grad():
        window = trainer.forward(clip, None, settings).window
    torch.testing.assert_close(window.teacher_images, window.output.image)
    window = replace(window, teacher_images=window.output.image.detach())
    once = LossConfig(should_score_raw=False, lambda_distill=7.0)
    assert compute_distillation_losses(None, window, once).generator["G_Distill"] == 0
    window = replace(window, teacher_images=window.teacher_images + 0.5)
    assert float(
        compute_distillation_losses(None, window, once).generator["G_Distill"]
    ) == pytest.approx(3.5)
    assert float(
        compute_distillation_losses(lambda x, y: (x - y).square().mean(), window, once).generator[
            "G_Distill"
        ]
    ) == pytest.approx(7 * (0.5 + 0.25))


def test_teacher_is_frozen_and_not_saved(taught):
    folder, teacher = taught
    trainer = student_of(folder, "--lr 0.01")
    trainer.train_clip(
        street_clip(4, 16, 24, load=2), compute_epoch_settings(1, trainer.config.schedule)
    )
    own = trainer.forward.forwards[0].teacher
    assert all(
        torch.equal(a, b)
        for a, b in zip(own.state_dict().values(), teacher.state_dict().values(), strict=True)
    )
    assert all(weight.grad is None and not weight.requires_grad for weight in own.parameters())
    assert set(trainer.networks.named_networks()) == {"G0", "D", "D_T0"}


def test_distillation_is_the_same_on_several_device_groups(taught):
    folder, _ = taught
    losses = []
    for flags in ("", "--gpu_ids cpu,cpu"):
        trainer = student_of(folder, f"--batchSize 2 {flags}")
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
def test_contradicting_options_are_named(taught, flags, words):
    with pytest.raises(UserError, match=words):
        configs.teacher_config(
            parse_train([*TINY_FLAGS.split(), *f"{RUN} --distill_from {taught[0]} {flags}".split()])
        )


def test_missing_teacher_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"opt.txt does not exist: .* --distill_from"):
        configs.teacher_config(tiny_options(f"{RUN} --distill_from {tmp_path}"))
    with pytest.raises(UserError, match=r"latest_net_G0\.pth"):
        load_teacher(configs.generator_config(tiny_options(RUN)), tmp_path)


def test_size_multiple_includes_the_teacher(taught):
    assert (
        configs.size_multiple(tiny_options(f"{RUN} --n_downsample_G 1 --distill_from {taught[0]}"))
        == 4
    )


def test_no_distillation_loss_without_a_teacher():
    options = tiny_options(RUN)
    networks = tiny_networks(options)
    trainer = tiny_trainer(options, networks)
    assert trainer.forward.forwards[0].teacher is None
    losses = trainer.train_clip(
        street_clip(3, 16, 24),
        compute_epoch_settings(1, configs.schedule_config(options, 3, 1)),
    ).losses
    assert "G_Distill" not in losses
