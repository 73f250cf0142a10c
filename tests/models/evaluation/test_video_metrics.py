import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from models.evaluation.frechet import HandcraftedFeatureExtractor, compute_image_statistics
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
PICTURE = np.ascontiguousarray(data.astronaut()[100:164, 150:246])
MEASURES = (compute_fidelity_metrics, WarpingError(DISFlowEstimator(), CPU), compute_flicker)


def still(count=6):
    return [PICTURE] * count


def flickered(amount, count=6):
    return [
        np.clip(PICTURE.astype(int) + amount * (-1) ** t, 0, 255).astype(np.uint8)
        for t in range(count)
    ]


def noisy(amount, count=20, seed=0):
    rng = np.random.default_rng(seed)
    return [
        np.clip(PICTURE + rng.normal(0, amount, PICTURE.shape), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


def scores(real, fake):
    return score_sequence("s", zip(real, fake, strict=True), MEASURES)


def test_warping_error_is_zero_for_a_static_video_and_grows_with_flicker():
    found = [average_metrics([scores(still(), flickered(amount))]) for amount in (0, 2, 8, 32)]
    errors = [figures["warping_error"] for figures in found]
    assert errors[0] == 0 and all(a < b for a, b in pairwise(errors))
    assert [figures["warping_error_real"] for figures in found] == [0] * 4
    assert [figures["flicker"] for figures in found] == sorted(
        figures["flicker"] for figures in found
    )


def test_motion_causes_no_warping_error():
    scene = data.astronaut()
    moving = [np.ascontiguousarray(scene[100:164, 100 + 3 * t : 228 + 3 * t]) for t in range(4)]
    steady = average_metrics([scores(moving, moving)])
    assert (
        steady["warping_error"]
        < 1e-3
        < np.mean([((b / 255 - a / 255) ** 2).mean() for a, b in pairwise(moving)])
    )


def test_metrics_match_scikit_image_per_frame():
    real, fake = still(), noisy(12, 6)
    found = scores(real, fake)
    assert found.get_curve("psnr") == pytest.approx(
        [peak_signal_noise_ratio(a, b) for a, b in zip(real, fake, strict=True)], abs=1e-6
    )
    assert found.get_curve("ssim") == pytest.approx(
        [structural_similarity(a, b, channel_axis=2) for a, b in zip(real, fake, strict=True)],
        abs=1e-6,
    )
    assert math.isnan(found.get_curve("warping_error")[0]) and math.isnan(
        found.get_curve("flicker")[1]
    )


def test_segmentation_iou_compares_fake_with_real_labels():
    halves = SegmentationIoU(lambda image: (image[..., 0] > 127).astype(np.uint8))
    real, fake = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    real[:2], fake[:1] = 255, 255
    assert halves([(real, real)])["mean_iou"] == 1
    assert halves([(real, fake)])["mean_iou"] == pytest.approx((4 / 8 + 8 / 12) / 2)


def test_pixels_leaving_the_image_are_masked():
    flow = torch.zeros(1, 2, 8, 8)
    assert compute_forward_backward_mask(flow, flow).all()
    there = flow.clone()
    there[:, 0, :, :4] = 3
    assert compute_forward_backward_mask(there, flow)[0, 0].float().mean() == 0.5


def test_handcrafted_features_separate_blur_color_and_jitter_and_are_not_called_fid():
    images = torch.rand(8, 3, 32, 48) * 2 - 1
    assert compute_image_statistics(images).shape == (8, 40)
    clip, video = HandcraftedFeatureExtractor(1), HandcraftedFeatureExtractor(8)
    assert clip(images[:1]).shape == (40,) and video(images).shape == (80,)
    assert (video(images[:1].expand(8, -1, -1, -1))[40:] == 0).all()
    assert all(name not in kind.name for kind in (clip, video) for name in ("fid", "fvd"))


def test_frechet_distances_order_videos_and_small_samples_warn(tmp_path):
    def distance(fake):
        sequence = score_sequence(
            "s",
            zip(noisy(2), fake, strict=True),
            (),
            [HandcraftedFeatureExtractor(1), HandcraftedFeatureExtractor(4)],
        )
        return build_evaluation_report([sequence], {})

    near, far = distance(noisy(2, seed=1)), distance(noisy(40, seed=1))
    for name in ("frechet_statistics", "frechet_video_statistics"):
        assert 0 <= near.mean[name] < far.mean[name]
    assert any("20 samples, fewer than 2048" in warning for warning in near.warnings)
    assert "warning: " in format_evaluation_table(near)


def test_report_is_valid_json_and_a_self_contained_page(tmp_path):
    report = build_evaluation_report([scores(still(), still())], {"real": "a<b", "flow": "dis"})
    write_evaluation_report(tmp_path, report)
    saved = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert saved["mean"]["psnr"] == "inf" and saved["curves"]["flicker"][0] is None
    assert saved["mean"]["ssim"] == pytest.approx(1) and saved["settings"]["frames"] == "6"
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") == len(report.curves) and "a&lt;b" in page and "src=" not in page
