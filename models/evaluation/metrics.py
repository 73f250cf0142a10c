"""Formulas of the metrics, as pure functions of numpy arrays.

`models/evaluation/__init__.py` summarizes the definitions. Images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

ImageArray = NDArray[Any]  # uint8, or float in 0..255 for a warped image
SSIM_WINDOW = 7  # scikit-image's default; SSIM is undefined for smaller images


def psnr(real: ImageArray, fake: ImageArray) -> float:
    """Return the peak signal-to-noise ratio in dB; infinity for equal images."""
    if np.array_equal(real, fake):
        return float("inf")  # scikit-image divides by zero and warns
    return float(peak_signal_noise_ratio(real, fake, data_range=255))


def ssim(real: ImageArray, fake: ImageArray) -> float:
    """Return the structural similarity in -1..1: the mean over windows of 7x7 and over the channels."""
    return float(
        structural_similarity(real, fake, win_size=SSIM_WINDOW, channel_axis=2, data_range=255)
    )


def warping_error(
    current: ImageArray, warped_prev: ImageArray, visible: NDArray[np.bool_]
) -> float:
    """Return the mean squared difference over visible pixels, of images in 0..1 (Lai et al., ECCV 2018).

    Args:
        current: A frame.
        warped_prev: The previous frame, warped to the current one.
        visible: (H, W), False where a pixel of the current frame is occluded in the previous one.

    Returns:
        The error in 0..1; nan if no pixel is visible.
    """
    if not visible.any():
        return float("nan")
    difference = current / 255 - warped_prev / 255
    return float((difference[visible] ** 2).mean())


def flicker(prev_image: ImageArray, image: ImageArray, next_image: ImageArray) -> float:
    """Return the mean absolute difference between a frame and the mean of its neighbors.

    Images are scaled to 0..1. The result is 0 for a static video and for a linear fade.
    """
    return float(np.abs(image / 255 - (prev_image / 255 + next_image / 255) / 2).mean())


def drift(values: Sequence[float]) -> float:
    """Return the least-squares slope of a metric over the frame number, per 100 frames.

    Values that are not finite are skipped. The result is nan for fewer than two finite values.
    """
    series = np.asarray(values, np.float64)
    frames = np.flatnonzero(np.isfinite(series))
    if len(frames) < 2:
        return float("nan")
    return float(np.polyfit(frames, series[frames], 1)[0] * 100)


def mean_curve(curves: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the mean of a metric at each frame number, over the sequences with a finite value there."""
    length = max(map(len, curves), default=0)
    padded = np.full((len(curves), length), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve
    is_finite = np.isfinite(padded)
    total = np.where(is_finite, padded, 0).sum(axis=0)
    count = is_finite.sum(axis=0)
    return np.divide(total, count, out=np.full(length, np.nan), where=count > 0)


def frechet_distance(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float:
    """Return the squared Fréchet distance between normal distributions fitted to two sets of features.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))` (Heusel et al., NeurIPS 2017, equation 6).

    Args:
        real: (N, D), N >= 2.
        fake: (M, D), M >= 2.
    """
    assert min(len(real), len(fake)) >= 2, (real.shape, fake.shape)
    assert real.shape[1] == fake.shape[1], (real.shape, fake.shape)
    mean_difference = real.mean(axis=0, dtype=np.float64) - fake.mean(axis=0, dtype=np.float64)
    real_cov, fake_cov = _covariance(real), _covariance(fake)
    # tr((C1 C2)^(1/2)) is the sum of the square roots of the eigenvalues of C1 C2. The symmetric matrix
    # C1^(1/2) C2 C1^(1/2) has the same eigenvalues, and its computation stays real.
    values, vectors = np.linalg.eigh(real_cov)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    root_trace = np.sqrt(np.linalg.eigvalsh(root @ fake_cov @ root).clip(min=0)).sum()
    distance = (
        mean_difference @ mean_difference + np.trace(real_cov) + np.trace(fake_cov) - 2 * root_trace
    )
    return float(max(distance, 0.0))


def _covariance(features: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.atleast_2d(np.cov(features.astype(np.float64), rowvar=False))


def mean_iou(counts: NDArray[np.integer]) -> float:
    """Return the mean intersection over union of the labels that occur; nan if none does.

    Args:
        counts: (N, N), the result of `confusion_matrix`.
    """
    intersection = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - intersection
    occurs = union > 0
    if not occurs.any():
        return float("nan")
    return float((intersection[occurs] / union[occurs]).mean())


def confusion_matrix(
    real: NDArray[np.integer], fake: NDArray[np.integer], label_nc: int
) -> NDArray[np.int64]:
    """Count the pixels of each pair of labels.

    Args:
        real: Labels; pixels with labels outside 0..label_nc-1 are ignored.
        fake: Labels in 0..label_nc-1, of the same shape.
        label_nc: Number of labels.

    Returns:
        (label_nc, label_nc): entry [i, j] counts pixels with label i in `real` and j in `fake`.
    """
    is_labeled = (real >= 0) & (real < label_nc)
    pairs = real[is_labeled].astype(np.int64) * label_nc + fake[is_labeled]
    return np.bincount(pairs, minlength=label_nc**2).reshape(label_nc, label_nc)
