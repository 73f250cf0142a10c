"""The label predictor: what it composes, how it is unrolled, how it is judged, and that it learns where things go."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.evaluation.label_prediction import evaluate_forecast
from models.flow.warp import warp
from models.inference.label_forecast import (
    LabelForecaster,
    LabelPredictor,
    LabelPredictorConfig,
    forecast_labels,
)
from models.losses.functional import label_cross_entropy
from models.networks.input_encoding import one_hot
from models.training.schedule import compute_epoch_settings
from options.registry import MODEL_REGISTRY
from tests.tiny import street_clip, tiny_options, tiny_trainer
from util.clip import Clip
from util.errors import UserError

CPU = torch.device("cpu")
CONFIG = LabelPredictorConfig(label_nc=5, n_history=2, width=4, n_downsample=2, n_blocks=2)


def shaken(predictor):
    """With heads that are not zero any more."""
    torch.manual_seed(1)
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return predictor


def frames_of(clip):
    return [clip.slice_frames(t, t + 1) for t in range(len(clip))]


def trainer_of(flags=""):
    options = tiny_options(f"--model future_labels --label_nc 5 --ngf 4 --n_frames_G 3 {flags}")
    networks = MODEL_REGISTRY["future_labels"].build_networks(options)
    trainer = tiny_trainer(options, networks)
    return trainer, trainer.networks.netG[0]


def test_untrained_predictor_repeats_the_last_label_map():
    torch.manual_seed(0)
    clips = frames_of(street_clip(2, 18, 22))  # no multiple of 4
    predictions = forecast_labels(LabelPredictor(CONFIG), clips)
    for _ in range(3):
        assert torch.equal(next(predictions), clips[-1].condition)


def test_prediction_blends_generated_probabilities_with_warped_labels():
    predictor = shaken(LabelPredictor(CONFIG))
    past = one_hot(street_clip(2, 16, 24, batch=2).condition, 5)
    frame = predictor(past)
    assert frame.image.shape == (2, 5, 16, 24) and frame.flow.shape == (2, 2, 16, 24)
    torch.testing.assert_close(frame.image.sum(1), torch.ones(2, 16, 24))
    carried = warp(past[:, 1], frame.flow)
    torch.testing.assert_close(
        frame.image, carried + frame.blend_weight * (frame.raw_image - carried)
    )
    assert frame.flow.abs().max() > 0.1 and frame.blend_weight.std() > 0.001


def test_loss_matches_hand_computed_value():
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
    losses = trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule)).losses
    assert losses == pytest.approx(
        {
            "G_Labels": float(likelihood(frame.image)),
            "F_Warp": float(missed.mean()) * 3,
            "G_Labels_raw": float(likelihood(frame.raw_image)),
        },
        rel=1e-4,
    )


def test_loss_of_unlabeled_map_is_zero():
    assert label_cross_entropy(torch.full((1, 5, 4, 4), 0.2), torch.zeros(1, 5, 4, 4)) == 0


def test_training_rollout_equals_synthesis():
    trainer, predictor = trainer_of("--max_frames_per_gpu 4 --lr 0")
    shaken(predictor)
    clip = street_clip(6, 16, 24, load=4)
    trained = trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule))
    predictions = forecast_labels(predictor, frames_of(clip)[:2])
    for t in range(4):
        assert torch.equal(
            trained.output.fake[:, t].argmax(1), next(predictions)[:, 0, 0].long()
        ), t
    forward = trainer.forward.forwards[0]
    images = forward.visualize(trained.window, trained.output)
    assert list(images) == ["past", "predicted", "raw", "real", "flow", "weight"]
    assert np.array_equal(images["real"], forward.label_to_image(clip.condition[0, -1]))


@pytest.mark.parametrize(("back", "further"), [(1, False), (2, True)])
def test_gradients_reach_bptt_frames_of_the_epoch_settings(back, further):
    trainer, predictor = trainer_of("--max_frames_per_gpu 2")
    shaken(predictor)
    clip = street_clip(4, 16, 24, load=2)

    def gradients(backpropagate):
        phase = replace(
            compute_epoch_settings(1, trainer.config.schedule), bptt_frames=backpropagate
        )
        output = trainer.forward(clip, None, phase)
        return torch.autograd.grad(output.fake[:, 1, 0].mean(), predictor.encoder[1].weight)[0]

    assert torch.equal(gradients(back), gradients(1)) != further


def moving(shift, frames=6, size=16):
    """A block that moves to the right over ground."""
    ids = torch.zeros(1, frames, 1, size, size, dtype=torch.uint8)
    for t in range(frames):
        ids[0, t, 0, 4:10, shift + t : shift + t + 5] = 1
    return Clip(ids, None, None, names=(tuple(f"s/{t}" for t in range(frames)),), window_size=2)


def test_predictor_learns_motion():
    torch.manual_seed(0)
    trainer, predictor = trainer_of("--lr 0.005 --max_frames_per_gpu 2")
    phase = compute_epoch_settings(1, trainer.config.schedule)
    for step in range(40):
        trainer.train_clip(moving(step % 3 + 1), phase)
    found = evaluate_forecast(predictor, [frames_of(moving(2))], 4, CPU).compute_metrics()
    assert (
        found["accuracy"] > found["accuracy_repeated"] + 0.02
        and found["mean_iou"] > found["mean_iou_repeated"]
    )


# how good


def test_metrics_count_every_predicted_frame_once():
    sequence = frames_of(street_clip(8, 16, 24))  # 2 given, 3 predicted; then 2 given, 1 left
    found = evaluate_forecast(LabelPredictor(CONFIG), [sequence], 3, CPU)
    ids = [frame.condition.flatten().numpy() for frame in sequence]
    wrong = [
        (ids[1] != ids[2]).sum() + (ids[6] != ids[7]).sum(),
        (ids[1] != ids[3]).sum(),
        (ids[1] != ids[4]).sum(),
    ]
    for counts in (found.predicted_counts, found.repeated_counts):  # a fresh one repeats
        assert counts.sum(axis=(1, 2)).tolist() == [2 * 384, 384, 384]
        assert [int(c.sum() - np.trace(c)) for c in counts] == wrong
    assert found.compute_metrics(slice(1, 2))["accuracy"] == pytest.approx(1 - wrong[1] / 384)


# for the video network


def test_forecast_follows_the_input_label_maps():
    clips = frames_of(street_clip(6, 16, 24))
    teller = LabelForecaster(LabelPredictor(replace(CONFIG, n_history=3)), n_history=2, device=CPU)
    assert teller.count_clips(6, "s") == 5
    told = list(teller.forecast_clips(clips))
    assert [clip.names for clip in told] == [clip.names for clip in clips[1:]]
    for clip, real in zip(told, clips[1:], strict=True):
        assert torch.equal(clip.image, real.image)
    assert torch.equal(told[1].condition, clips[2].condition) and torch.equal(
        told[1].instance, clips[2].instance
    )
    for clip in told[2:]:
        assert torch.equal(clip.condition, clips[2].condition)
        assert torch.equal(clip.instance, clip.condition.int())


def test_forecast_continues_beyond_the_last_label_map():
    clips = frames_of(street_clip(3, 16, 24))
    teller = LabelForecaster(LabelPredictor(CONFIG), n_history=3, device=CPU, n_forecast_frames=4)
    assert teller.count_clips(3, "s") == 7
    told = list(teller.forecast_clips(clips))
    assert [clip.names[0][0] for clip in told[3:]] == [
        f"future/future_{n:06}" for n in (1, 2, 3, 4)
    ]
    assert all(clip.image is None for clip in told[3:])


@pytest.mark.parametrize(("frames", "available"), [(None, 2), (4, 1)])
def test_too_short_sequence_is_refused_by_name(frames, available):
    with pytest.raises(
        UserError,
        match=rf"sequence short has {available} frames; .* begins from 2.*--future_frames",
    ):
        LabelForecaster(LabelPredictor(CONFIG), 2, CPU, frames).count_clips(available, "short")
