"""The label predictor: what it composes, how it is unrolled, how it is judged, and that it learns where things go."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.conditions import one_hot
from models.future_evaluation import measure_foresight
from models.future_labels import Foreteller, FutureLabelConfig, LabelPredictor, foresee
from models.future_labels_trainer import FutureLabelsTrainer
from models.losses import cross_entropy
from models.schedule import phase_at
from models.warp import warp
from options.methods import METHODS
from tests.tiny import street_clip, tiny_options, tiny_trainer
from util.clip import Clip
from util.errors import UserError

CPU = torch.device("cpu")
CONFIG = FutureLabelConfig(label_nc=5, n_past=2, width=4, n_downsample=2, n_blocks=2)


def shaken(predictor):
    """With heads that are not zero any more."""
    torch.manual_seed(1)
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return predictor


def frames_of(clip):
    return [clip.frames(t, t + 1) for t in range(len(clip))]


def trainer_of(flags=""):
    options = tiny_options(f"--model future_labels --label_nc 5 --ngf 4 --n_frames_G 3 {flags}")
    networks = METHODS["future_labels"].networks(options)
    trainer = FutureLabelsTrainer(**vars(tiny_trainer(options, networks)))
    return trainer, trainer.networks.generator[0]


def test_a_fresh_one_repeats_the_last_map():
    torch.manual_seed(0)
    clips = frames_of(street_clip(2, 18, 22))  # no multiple of 4
    predictions = foresee(LabelPredictor(CONFIG), clips)
    for _ in range(3):
        assert torch.equal(next(predictions), clips[-1].condition)


def test_what_it_predicts_is_painted_or_comes_from_where_the_flow_points():
    predictor = shaken(LabelPredictor(CONFIG))
    past = one_hot(street_clip(2, 16, 24, batch=2).condition, 5)
    frame = predictor(past)
    assert frame.picture.shape == (2, 5, 16, 24) and frame.flow.shape == (2, 2, 16, 24)
    torch.testing.assert_close(frame.picture.sum(1), torch.ones(2, 16, 24))
    carried = warp(past[:, 1], frame.flow)
    torch.testing.assert_close(frame.picture, carried + frame.weight * (frame.raw - carried))
    assert frame.flow.abs().max() > 0.1 and frame.weight.std() > 0.001


def test_the_objective_by_hand():
    trainer, predictor = trainer_of("--lambda_T 3")
    shaken(predictor)
    clip = street_clip(3, 16, 24, batch=2)
    clip = replace(clip, condition=clip.condition.masked_fill(clip.instance == 0, 5))  # 5: no label
    maps, ids = one_hot(clip.condition, 5), clip.condition[:, 2, 0].long()
    with torch.no_grad():
        frame = predictor(maps[:, :2])

    def likelihood(p):
        return F.nll_loss((p + 1e-4).log(), ids, ignore_index=5)

    missed = (warp(maps[:, 1], frame.flow) - maps[:, 2]).abs() * (ids < 5).float()[:, None]
    losses = trainer.train_clip(clip, phase_at(1, trainer.config.schedule)).losses
    assert losses == pytest.approx({"G_Labels": float(likelihood(frame.picture)), "F_Warp": float(missed.mean()) * 3,
                                    "G_Labels_raw": float(likelihood(frame.raw))}, rel=1e-4)


def test_a_map_without_labels_costs_nothing():
    assert cross_entropy(torch.full((1, 5, 4, 4), 0.2), torch.zeros(1, 5, 4, 4)) == 0


def test_training_unrolls_as_synthesis_does():
    trainer, predictor = trainer_of("--max_frames_per_gpu 4 --lr 0")
    shaken(predictor)
    clip = street_clip(6, 16, 24, load=4)
    trained = trainer.train_clip(clip, phase_at(1, trainer.config.schedule))
    predictions = foresee(predictor, frames_of(clip)[:2])
    for t in range(4):
        assert torch.equal(trained.window.frames.picture[:, t].argmax(1), next(predictions)[:, 0, 0].long()), t
    pictures = trainer.pictures(trained)
    assert list(pictures) == ["past", "predicted", "raw", "real", "flow", "weight"]
    assert np.array_equal(pictures["real"], trainer.show(clip.condition[0, -1]))


@pytest.mark.parametrize(("back", "further"), [(1, False), (2, True)])
def test_gradients_pass_back_through_predictions_as_the_phase_says(back, further):
    trainer, predictor = trainer_of("--max_frames_per_gpu 2")
    shaken(predictor)
    team, clip = trainer.teams.members[0], street_clip(4, 16, 24, load=2)

    def gradients(backpropagate):
        phase = replace(phase_at(1, trainer.config.schedule), backpropagate=backpropagate)
        window, _ = trainer.generate(team, clip, clip, 0, phase, None)
        return torch.autograd.grad(window.frames.picture[:, 1, 0].mean(), predictor.encoder[1].weight)[0]

    assert torch.equal(gradients(back), gradients(1)) != further


def moving(shift, frames=6, size=16):
    """A block that moves to the right over ground."""
    ids = torch.zeros(1, frames, 1, size, size, dtype=torch.uint8)
    for t in range(frames):
        ids[0, t, 0, 4:10, shift + t:shift + t + 5] = 1
    return Clip(ids, None, None, names=(tuple(f"s/{t}" for t in range(frames)),), load=2)


def test_it_learns_where_things_go():
    torch.manual_seed(0)
    trainer, predictor = trainer_of("--lr 0.005 --max_frames_per_gpu 2")
    phase = phase_at(1, trainer.config.schedule)
    for step in range(40):
        trainer.train_clip(moving(step % 3 + 1), phase)
    found = measure_foresight(predictor, [frames_of(moving(2))], 4, CPU).figures()
    assert found["accuracy"] > found["accuracy_repeated"] + 0.02 and found["mean_iou"] > found["mean_iou_repeated"]


# how good


def test_the_figures_count_every_predicted_frame_once():
    sequence = frames_of(street_clip(8, 16, 24))  # 2 given, 3 predicted; then 2 given, 1 left
    found = measure_foresight(LabelPredictor(CONFIG), [sequence], 3, CPU)
    ids = [frame.condition.flatten().numpy() for frame in sequence]
    wrong = [(ids[1] != ids[2]).sum() + (ids[6] != ids[7]).sum(), (ids[1] != ids[3]).sum(), (ids[1] != ids[4]).sum()]
    for counts in (found.predicted, found.repeated):  # a fresh one repeats
        assert counts.sum(axis=(1, 2)).tolist() == [2 * 384, 384, 384]
        assert [int(c.sum() - np.trace(c)) for c in counts] == wrong
    assert found.figures(slice(1, 2))["accuracy"] == pytest.approx(1 - wrong[1] / 384)


# for the video network


def test_what_is_known_comes_first_and_then_what_is_predicted():
    clips = frames_of(street_clip(6, 16, 24))
    teller = Foreteller(LabelPredictor(replace(CONFIG, n_past=3)), n_given=2, device=CPU)
    assert teller.length(6, "s") == 5
    told = list(teller.clips(clips))
    assert [clip.names for clip in told] == [clip.names for clip in clips[1:]]
    for clip, real in zip(told, clips[1:], strict=True):
        assert torch.equal(clip.picture, real.picture)
    assert torch.equal(told[1].condition, clips[2].condition) and torch.equal(told[1].instance, clips[2].instance)
    for clip in told[2:]:
        assert torch.equal(clip.condition, clips[2].condition)
        assert torch.equal(clip.instance, clip.condition.int())


def test_it_goes_beyond_the_end():
    clips = frames_of(street_clip(3, 16, 24))
    teller = Foreteller(LabelPredictor(CONFIG), n_given=3, device=CPU, frames=4)
    assert teller.length(3, "s") == 7
    told = list(teller.clips(clips))
    assert [clip.names[0][0] for clip in told[3:]] == [f"future/future_{n:06}" for n in (1, 2, 3, 4)]
    assert all(clip.picture is None for clip in told[3:])


@pytest.mark.parametrize(("frames", "available"), [(None, 2), (4, 1)])
def test_a_sequence_that_is_too_short_is_named(frames, available):
    with pytest.raises(UserError, match=rf"sequence short has {available} frames; .* begins from 2.*--future_frames"):
        Foreteller(LabelPredictor(CONFIG), 2, CPU, frames).length(available, "short")
