"""Formulas of the metrics, against scikit-image, SciPy, scikit-learn and hand-worked values."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import jaccard_score

from models.evaluation import metrics

RNG = np.random.default_rng(0)


def make_random_image(height=24, width=32):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_psnr_and_ssim_match_scikit_image():
    for _ in range(5):
        real = make_random_image()
        fake = np.clip(real + RNG.normal(0, 20, real.shape), 0, 255).astype(np.uint8)
        assert metrics.psnr(real, fake) == pytest.approx(
            peak_signal_noise_ratio(real, fake), abs=1e-6
        )
        assert metrics.ssim(real, fake) == pytest.approx(
            structural_similarity(real, fake, channel_axis=2), abs=1e-6
        )
    assert metrics.psnr(real, real) == math.inf and metrics.ssim(real, real) == pytest.approx(1)


def test_warping_error_counts_only_visible_pixels():
    current, warped_prev = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    warped_prev[0, 0], warped_prev[3, 3] = 255, 51
    visible = np.ones((4, 4), bool)
    visible[0, 0] = False
    assert metrics.warping_error(current, warped_prev, visible) == pytest.approx(0.2**2 / 15)
    assert math.isnan(metrics.warping_error(current, warped_prev, ~np.ones((4, 4), bool)))


def test_flicker_is_zero_for_a_fade_and_grows_with_amplitude():
    fade = [np.full((4, 4, 3), value, np.uint8) for value in (20, 30, 40)]
    assert metrics.flicker(*fade) == pytest.approx(0, abs=1e-12)
    values = [
        metrics.flicker(fade[0], fade[0] + np.uint8(amplitude), fade[0]) for amplitude in (1, 5, 50)
    ]
    assert values == pytest.approx([1 / 255, 5 / 255, 50 / 255])


def test_drift_is_the_slope_without_missing_values():
    assert metrics.drift([30 - 0.02 * t for t in range(50)]) == pytest.approx(-2)
    assert metrics.drift([math.nan, 1.0, math.nan, 1.2, math.inf]) == pytest.approx(10)
    assert math.isnan(metrics.drift([1.0]))


def test_mean_curve_averages_the_sequences_that_reach_a_frame():
    curve = metrics.mean_curve([[1.0, 2.0, 3.0], [3.0, math.nan]])
    np.testing.assert_allclose(curve, [2, 2, 3])
    assert np.isnan(metrics.mean_curve([[math.nan]])).all()


def test_frechet_distance_matches_scipy_sqrtm():
    real, fake = RNG.normal(size=(60, 5)), RNG.normal(1, 2, size=(40, 5))
    c1, c2 = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(
        c1 + c2 - 2 * sqrtm(c1 @ c2).real
    )
    assert metrics.frechet_distance(real, fake) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    few = RNG.normal(size=(3, 8))  # fewer images than features: the covariance is singular
    assert metrics.frechet_distance(few, few) == pytest.approx(0, abs=1e-6)


def test_mean_iou_matches_scikit_learn_and_ignores_unlabeled_pixels():
    real, fake = RNG.integers(0, 4, 500), RNG.integers(0, 4, 500)
    counts = metrics.confusion_matrix(real, fake, 4)
    assert metrics.mean_iou(counts) == pytest.approx(jaccard_score(real, fake, average="macro"))
    ignored = np.append(real, 255), np.append(fake, 0)
    np.testing.assert_array_equal(metrics.confusion_matrix(*ignored, 4), counts)
    assert math.isnan(metrics.mean_iou(np.zeros((3, 3), int)))
