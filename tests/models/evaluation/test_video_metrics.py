"""Video metrics, Fréchet distances and the evaluation report."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from models.evaluation.feature_extractors import (
    HandcraftedFeatureExtractor,
    compute_image_statistics,
)
from models.evaluation.video_metrics import (
    SegmentationIoU,
    WarpingError,
    average_metrics,
    build_evaluation_report,
    compute_fidelity_metrics,
    compute_flicker,
    compute_forward_backward_mask,
    score_sequence,
)
from models.flow.dis import DISFlowEstimator
from util.pages.evaluation import format_evaluation_table, write_evaluation_report

CPU = torch.device("cpu")
IMAGE = np.ascontiguousarray(data.astronaut()[100:164, 150:246])
METRICS = (compute_fidelity_metrics, WarpingError(DISFlowEstimator(), CPU), compute_flicker)


def make_static(count=6):
    return [IMAGE] * count


def make_flickering(amount, count=6):
    return [
        np.clip(IMAGE.astype(int) + amount * (-1) ** t, 0, 255).astype(np.uint8)
        for t in range(count)
    ]


def make_noisy(amount, count=20, seed=0):
    rng = np.random.default_rng(seed)
    return [
        np.clip(IMAGE + rng.normal(0, amount, IMAGE.shape), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


def score(real, fake):
    return score_sequence("s", zip(real, fake, strict=True), METRICS)


def test_warping_error_is_zero_for_a_static_video_and_grows_with_flicker():
    results = [
        average_metrics([score(make_static(), make_flickering(amount))]) for amount in (0, 2, 8, 32)
    ]
    errors = [values["warping_error"] for values in results]
    assert errors[0] == 0 and all(a < b for a, b in pairwise(errors))
    assert [values["warping_error_real"] for values in results] == [0] * 4
    flicker = [values["flicker"] for values in results]
    assert flicker == sorted(flicker)


def test_motion_causes_no_warping_error():
    scene = data.astronaut()
    moving = [np.ascontiguousarray(scene[100:164, 100 + 3 * t : 228 + 3 * t]) for t in range(4)]
    values = average_metrics([score(moving, moving)])
    frame_difference = np.mean([((b / 255 - a / 255) ** 2).mean() for a, b in pairwise(moving)])
    assert values["warping_error"] < 1e-3 < frame_difference


def test_metrics_match_scikit_image_per_frame():
    real, fake = make_static(), make_noisy(12, 6)
    scores = score(real, fake)
    assert scores.get_curve("psnr") == pytest.approx(
        [peak_signal_noise_ratio(a, b) for a, b in zip(real, fake, strict=True)], abs=1e-6
    )
    assert scores.get_curve("ssim") == pytest.approx(
        [structural_similarity(a, b, channel_axis=2) for a, b in zip(real, fake, strict=True)],
        abs=1e-6,
    )
    assert math.isnan(scores.get_curve("warping_error")[0])
    assert math.isnan(scores.get_curve("flicker")[1])


def test_segmentation_iou_compares_fake_with_real_labels():
    metric = SegmentationIoU(lambda image: (image[..., 0] > 127).astype(np.uint8))
    real, fake = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    real[:2], fake[:1] = 255, 255
    assert metric([(real, real)])["mean_iou"] == 1
    assert metric([(real, fake)])["mean_iou"] == pytest.approx((4 / 8 + 8 / 12) / 2)


def test_pixels_leaving_the_image_are_masked():
    flow = torch.zeros(1, 2, 8, 8)
    assert compute_forward_backward_mask(flow, flow).all()
    forward_flow = flow.clone()
    forward_flow[:, 0, :, :4] = 3
    assert compute_forward_backward_mask(forward_flow, flow)[0, 0].float().mean() == 0.5


def test_handcrafted_features_separate_blur_color_and_jitter_and_are_not_called_fid():
    images = torch.rand(8, 3, 32, 48) * 2 - 1
    assert compute_image_statistics(images).shape == (8, 40)
    of_image, of_clip = HandcraftedFeatureExtractor(1), HandcraftedFeatureExtractor(8)
    assert of_image(images[:1]).shape == (40,) and of_clip(images).shape == (80,)
    assert (of_clip(images[:1].expand(8, -1, -1, -1))[40:] == 0).all()
    for extractor in (of_image, of_clip):
        assert "fid" not in extractor.name and "fvd" not in extractor.name


def test_frechet_distances_order_videos_and_small_samples_warn(tmp_path):
    def evaluate(fake):
        sequence = score_sequence(
            "s",
            zip(make_noisy(2), fake, strict=True),
            (),
            [HandcraftedFeatureExtractor(1), HandcraftedFeatureExtractor(4)],
        )
        return build_evaluation_report([sequence], {})

    near, far = evaluate(make_noisy(2, seed=1)), evaluate(make_noisy(40, seed=1))
    for name in ("frechet_statistics", "frechet_video_statistics"):
        assert 0 <= near.mean[name] < far.mean[name]
    assert any("20 samples, fewer than 2048" in warning for warning in near.warnings)
    assert "warning: " in format_evaluation_table(near)


def test_report_is_valid_json_and_a_self_contained_page(tmp_path):
    report = build_evaluation_report(
        [score(make_static(), make_static())], {"real": "a<b", "flow": "dis"}
    )
    write_evaluation_report(tmp_path, report)
    saved = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert saved["mean"]["psnr"] == "inf" and saved["curves"]["flicker"][0] is None
    assert saved["mean"]["ssim"] == pytest.approx(1) and saved["settings"]["frames"] == "6"
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") == len(report.curves) and "a&lt;b" in page and "src=" not in page
