"""A student beside its teacher: what it is asked for, that the teacher stays as it is, and that groups agree."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from models.distillation import distillation_terms, load_teacher
from models.flow.reference import NoFlow
from models.rollout import History, RolloutConfig, rollout
from models.saving import save_epoch
from models.schedule import phase_at
from models.teams import build_teams
from options import configs
from options.assembly import team_up
from options.parsing import listing
from options.train import parse_train
from tests.tiny import SMALL, street_clip, tiny_networks, tiny_options, tiny_trainer
from util.errors import UserError
from util.placement import place

RUN = "--label_nc 5 --n_frames_total 4 --max_frames_per_gpu 2 --lr 0 --norm instance"


@pytest.fixture
def taught(tmp_path):
    """A trained run's folder, wider than its student."""
    options = tiny_options(f"{RUN} --ngf 16")
    networks = tiny_networks(options, seed=3)
    save_epoch(tmp_path, "latest", networks)
    (tmp_path / "opt.txt").write_text(listing(options))
    return tmp_path, networks.generator


def student_of(folder, flags=""):
    options = tiny_options(f"{RUN} --distill_from {folder} {flags}")
    networks = tiny_networks(options)
    placement = place(configs.placement(options))
    return replace(tiny_trainer(options, networks), teams=team_up(options, networks, NoFlow(), placement))


def losses_by_window(trainer, clip):
    found = []
    original = trainer.update
    object.__setattr__(trainer, "update", lambda players, phase: found.append(original(players, phase)) or found[-1])
    trainer.train_clip(clip, phase_at(1, trainer.config.schedule))
    return found


def test_the_student_is_asked_for_what_the_teacher_paints_from_its_own_past(taught):
    folder, teacher = taught
    trainer, clip = student_of(folder), street_clip(6, 16, 24, load=2)
    condition = trainer.config.conditions.encode(clip)
    config = RolloutConfig(3)
    with torch.no_grad():
        wanted, _ = rollout(teacher, condition, History.begin(clip.picture[:, :2], 1), config)
        made, _ = rollout(trainer.networks.generator, condition, History.begin(clip.picture[:, :2], 1), config)
    found = losses_by_window(trainer, clip)
    for window, losses in enumerate(found):
        frames = slice(2 * window, 2 * window + 2)
        expected = sum(F.l1_loss(x[:, frames], wanted.picture[:, frames]) for x in (made.picture, made.raw)) * 10
        assert losses["G_Distill"] == pytest.approx(float(expected), rel=1e-4)
    assert len(found) == 2


def test_a_student_like_its_teacher_has_nothing_to_learn_from_it(taught):
    folder, teacher = taught
    trainer = student_of(folder, "--ngf 16")
    trainer.networks.generator.load_state_dict(teacher.state_dict())
    team, clip = trainer.teams.members[0], street_clip(4, 16, 24, load=2)
    with torch.no_grad():
        window, _ = trainer.generate(team, clip, clip, 0, phase_at(1, trainer.config.schedule), None)
    window, _ = trainer.teach(team, clip, window, None)
    torch.testing.assert_close(window.taught, window.frames.picture)
    window = replace(window, taught=window.frames.picture.detach())
    once = replace(trainer.config.objectives, count_raw=False, lambda_distill=7.0)
    assert distillation_terms(None, window, once).generator["G_Distill"] == 0
    window = replace(window, taught=window.taught + 0.5)
    assert float(distillation_terms(None, window, once).generator["G_Distill"]) == pytest.approx(3.5)
    assert float(distillation_terms(lambda x, y: (x - y).square().mean(), window, once).generator["G_Distill"]
                 ) == pytest.approx(7 * (0.5 + 0.25))


def test_the_teacher_stays_as_it_is_and_out_of_the_files(taught):
    folder, teacher = taught
    trainer = student_of(folder, "--lr 0.01")
    trainer.train_clip(street_clip(4, 16, 24, load=2), phase_at(1, trainer.config.schedule))
    own = trainer.teams.members[0].teacher
    assert all(torch.equal(a, b) for a, b in zip(own.state_dict().values(), teacher.state_dict().values(), strict=True))
    assert all(weight.grad is None and not weight.requires_grad for weight in own.parameters())
    assert set(trainer.networks.named()) == {"G0", "D", "D_T0"}


def test_groups_of_devices_are_taught_alike(taught):
    folder, _ = taught
    losses = []
    for flags in ("", "--gpu_ids cpu,cpu"):
        trainer = student_of(folder, f"--batchSize 2 {flags}")
        clip = street_clip(6, 16, 24, load=2, batch=2)
        losses.append([window["G_Distill"] for window in losses_by_window(trainer, clip)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(("flags", "words"), [
    ("--label_nc 6", "--label_nc 6 here, 5 in --distill_from"), ("--n_frames_G 2", "--n_frames_G 2 here, 3 in"),
    ("--n_scales_spatial 2", "--n_scales_spatial 2 here, 1 in"), ("--no_first_img", "--no_first_img True here, False"),
    ("--use_instance", "--use_instance True here")])
def test_contradictions_are_named(taught, flags, words):
    with pytest.raises(UserError, match=words):
        configs.teacher(parse_train([*SMALL.split(), *f"{RUN} --distill_from {taught[0]} {flags}".split()]))


def test_a_teacher_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"opt.txt is not there: give --distill_from"):
        configs.teacher(tiny_options(f"{RUN} --distill_from {tmp_path}"))
    with pytest.raises(UserError, match=r"latest_net_G0\.pth"):
        load_teacher(configs.generator(tiny_options(RUN)), tmp_path)


def test_sides_fit_the_teacher_too(taught):
    assert configs.size_multiple(tiny_options(f"{RUN} --n_downsample_G 1 --distill_from {taught[0]}")) == 4


def test_without_a_teacher_nothing_is_asked():
    options = tiny_options(RUN)
    networks = tiny_networks(options)
    teams = build_teams(place(configs.placement(options)), networks, None, lambda _: NoFlow())
    assert teams.members[0].teacher is None
    losses = tiny_trainer(options, networks).train_clip(street_clip(3, 16, 24), phase_at(1, configs.schedule(
        options, 3, 1))).losses
    assert "G_Distill" not in losses
