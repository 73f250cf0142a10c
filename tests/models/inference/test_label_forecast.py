"""Tests of label prediction: the network, its training and metrics, and forecasts for synthesis."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.evaluation.label_prediction import evaluate_forecast
from models.flow.warp import warp
from models.inference.label_forecast import LabelForecaster, forecast_labels
from models.losses.functional import label_cross_entropy
from models.networks.input_encoding import one_hot
from models.networks.label_predictor import LabelPredictor, LabelPredictorConfig
from models.training.schedule import compute_epoch_settings
from options.registry import MODEL_REGISTRY
from tests.tiny import split_frames, street_clip, tiny_options, tiny_trainer
from util.clip import Clip
from util.errors import UserError

CPU = torch.device("cpu")
CONFIG = LabelPredictorConfig(label_nc=5, n_history=2, width=4, n_downsample=2, n_blocks=2)


def randomize(predictor):
    """Random weights also for the heads, which are initialized to zero."""
    torch.manual_seed(1)
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return predictor


def make_trainer(flags=""):
    options = tiny_options(f"--model future_labels --label_nc 5 --ngf 4 --n_frames_G 3 {flags}")
    networks = MODEL_REGISTRY["future_labels"].build_networks(options)
    trainer = tiny_trainer(options, networks)
    return trainer, trainer.networks.netG[0]


def test_untrained_predictor_repeats_the_last_label_map():
    torch.manual_seed(0)
    clips = split_frames(street_clip(2, 18, 22))  # sizes that need padding
    predictions = forecast_labels(LabelPredictor(CONFIG), clips)
    for _ in range(3):
        assert torch.equal(next(predictions), clips[-1].condition)


def test_prediction_blends_generated_probabilities_with_warped_labels():
    predictor = randomize(LabelPredictor(CONFIG))
    history = one_hot(street_clip(2, 16, 24, batch=2).condition, 5)
    output = predictor(history)
    assert output.image.shape == (2, 5, 16, 24) and output.flow.shape == (2, 2, 16, 24)
    torch.testing.assert_close(output.image.sum(1), torch.ones(2, 16, 24))
    warped = warp(history[:, 1], output.flow)
    blended = warped + output.blend_weight * (output.raw_image - warped)
    torch.testing.assert_close(output.image, blended)
    assert output.flow.abs().max() > 0.1 and output.blend_weight.std() > 0.001


def test_loss_matches_hand_computed_value():
    trainer, predictor = make_trainer("--lambda_T 3")
    randomize(predictor)
    clip = street_clip(3, 16, 24, batch=2)
    # id 5 is no label
    clip = replace(clip, condition=clip.condition.masked_fill(clip.instance == 0, 5))
    maps, ids = one_hot(clip.condition, 5), clip.condition[:, 2, 0].long()
    with torch.no_grad():
        output = predictor(maps[:, :2])

    def cross_entropy(probabilities):
        return F.nll_loss((probabilities + 1e-4).log(), ids, ignore_index=5)

    has_label = (ids < 5).float()[:, None]
    warp_error = (warp(maps[:, 1], output.flow) - maps[:, 2]).abs() * has_label
    losses = trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule)).losses
    expected = {
        "G_Labels": float(cross_entropy(output.image)),
        "F_Warp": float(warp_error.mean()) * 3,
        "G_Labels_raw": float(cross_entropy(output.raw_image)),
    }
    assert losses == pytest.approx(expected, rel=1e-4)


def test_loss_of_unlabeled_map_is_zero():
    assert label_cross_entropy(torch.full((1, 5, 4, 4), 0.2), torch.zeros(1, 5, 4, 4)) == 0


def test_training_rollout_equals_synthesis():
    trainer, predictor = make_trainer("--max_frames_per_gpu 4 --lr 0")
    randomize(predictor)
    clip = street_clip(6, 16, 24, load=4)
    step = trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule))
    predictions = forecast_labels(predictor, split_frames(clip)[:2])
    for t in range(4):
        assert torch.equal(step.output.fake[:, t].argmax(1), next(predictions)[:, 0, 0].long()), t
    forward = trainer.forward.forwards[0]
    images = forward.visualize(step.window, step.output)
    assert list(images) == ["past", "predicted", "raw", "real", "flow", "weight"]
    assert np.array_equal(images["real"], forward.label_to_image(clip.condition[0, -1]))


@pytest.mark.parametrize(("bptt_frames", "reaches_further"), [(1, False), (2, True)])
def test_gradients_reach_bptt_frames_of_the_epoch_settings(bptt_frames, reaches_further):
    trainer, predictor = make_trainer("--max_frames_per_gpu 2")
    randomize(predictor)
    clip = street_clip(4, 16, 24, load=2)

    def compute_gradient(n_frames):
        settings = compute_epoch_settings(1, trainer.config.schedule)
        output = trainer.forward(clip, None, replace(settings, bptt_frames=n_frames))
        loss = output.fake[:, 1, 0].mean()
        return torch.autograd.grad(loss, predictor.encoder[1].weight)[0]

    assert torch.equal(compute_gradient(bptt_frames), compute_gradient(1)) != reaches_further


def make_moving_block(start, n_frames=6, size=16):
    """Label maps of a block that moves to the right."""
    ids = torch.zeros(1, n_frames, 1, size, size, dtype=torch.uint8)
    for t in range(n_frames):
        ids[0, t, 0, 4:10, start + t : start + t + 5] = 1
    names = (tuple(f"s/{t}" for t in range(n_frames)),)
    return Clip(ids, None, None, names=names, window_size=2)


def test_predictor_learns_motion():
    torch.manual_seed(0)
    trainer, predictor = make_trainer("--lr 0.005 --max_frames_per_gpu 2")
    settings = compute_epoch_settings(1, trainer.config.schedule)
    for step in range(40):
        trainer.train_clip(make_moving_block(step % 3 + 1), settings)
    sequence = split_frames(make_moving_block(2))
    metrics = evaluate_forecast(predictor, [sequence], 4, CPU).compute_metrics()
    assert metrics["accuracy"] > metrics["accuracy_repeated"] + 0.02
    assert metrics["mean_iou"] > metrics["mean_iou_repeated"]


# metrics


def test_metrics_count_every_predicted_frame_once():
    # 2 input frames and 3 predicted ones; then 2 input frames and 1 predicted
    sequence = split_frames(street_clip(8, 16, 24))
    result = evaluate_forecast(LabelPredictor(CONFIG), [sequence], 3, CPU)
    ids = [frame.condition.flatten().numpy() for frame in sequence]
    n_wrong = [
        (ids[1] != ids[2]).sum() + (ids[6] != ids[7]).sum(),
        (ids[1] != ids[3]).sum(),
        (ids[1] != ids[4]).sum(),
    ]
    # the untrained predictor repeats the last map
    for counts in (result.predicted_counts, result.repeated_counts):
        assert counts.sum(axis=(1, 2)).tolist() == [2 * 384, 384, 384]
        assert [int(c.sum() - np.trace(c)) for c in counts] == n_wrong
    accuracy = result.compute_metrics(slice(1, 2))["accuracy"]
    assert accuracy == pytest.approx(1 - n_wrong[1] / 384)


# forecasts as input of the video generators


def test_forecast_follows_the_input_label_maps():
    clips = split_frames(street_clip(6, 16, 24))
    predictor = LabelPredictor(replace(CONFIG, n_history=3))
    forecaster = LabelForecaster(predictor, n_history=2, device=CPU)
    assert forecaster.count_clips(6, "s") == 5
    forecast = list(forecaster.forecast_clips(clips))
    assert [clip.names for clip in forecast] == [clip.names for clip in clips[1:]]
    for clip, real in zip(forecast, clips[1:], strict=True):
        assert torch.equal(clip.image, real.image)
    assert torch.equal(forecast[1].condition, clips[2].condition)
    assert torch.equal(forecast[1].instance, clips[2].instance)
    for clip in forecast[2:]:
        assert torch.equal(clip.condition, clips[2].condition)
        assert torch.equal(clip.instance, clip.condition.int())


def test_forecast_continues_beyond_the_last_label_map():
    clips = split_frames(street_clip(3, 16, 24))
    forecaster = LabelForecaster(LabelPredictor(CONFIG), 3, CPU, n_forecast_frames=4)
    assert forecaster.count_clips(3, "s") == 7
    future = list(forecaster.forecast_clips(clips))[3:]
    expected_names = [f"future/future_{n:06}" for n in (1, 2, 3, 4)]
    assert [clip.names[0][0] for clip in future] == expected_names
    assert all(clip.image is None for clip in future)


@pytest.mark.parametrize(("n_forecast_frames", "available"), [(None, 2), (4, 1)])
def test_too_short_sequence_is_refused_by_name(n_forecast_frames, available):
    forecaster = LabelForecaster(LabelPredictor(CONFIG), 2, CPU, n_forecast_frames)
    message = rf"sequence short has {available} frames, .* starts from 2 .*--future_frames"
    with pytest.raises(UserError, match=message):
        forecaster.count_clips(available, "short")
