"""How good a video is, in figures: its images, and how they follow each other. Pure numpy, no state.

Images are (H, W, 3) uint8 RGB. Differences between images are in units of the full range, so 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

ImageArray = NDArray[Any]  # uint8; a warped one has fractions
SSIM_WINDOW = 7  # scikit-image's default: smaller images have no SSIM


def psnr(real: ImageArray, fake: ImageArray) -> float:
    """Peak signal to noise ratio in dB; infinite for equal images."""
    if np.array_equal(real, fake):
        return float("inf")  # scikit-image divides by zero on the way there
    return float(peak_signal_noise_ratio(real, fake, data_range=255))


def ssim(real: ImageArray, fake: ImageArray) -> float:
    """Structural similarity, -1..1, the mean over windows of 7 x 7 and over the channels (Wang et al., 2004)."""
    return float(
        structural_similarity(real, fake, win_size=SSIM_WINDOW, channel_axis=2, data_range=255)
    )


def warping_error(
    current: ImageArray, warped_prev: ImageArray, visible: NDArray[np.bool_]
) -> float:
    """Mean squared difference where both frames show the same thing (Lai et al., ECCV 2018); nan where none do.

    carried: the frame before, warped along the motion. visible: (H, W), False where something was hidden before.
    """
    if not visible.any():
        return float("nan")
    return float((_scaled_difference(current, warped_prev)[visible] ** 2).mean())


def flicker(prev_image: ImageArray, image: ImageArray, next_image: ImageArray) -> float:
    """How far a frame leaves the mean of its neighbours, on average: 0 for a still image and for a steady fade."""
    return float(np.abs(image / 255 - (prev_image / 255 + next_image / 255) / 2).mean())


def drift(values: Sequence[float]) -> float:
    """Slope per 100 frames of a figure over the frame number, by least squares; nan for fewer than two frames."""
    series = np.asarray(values, np.float64)
    frames = np.flatnonzero(np.isfinite(series))
    if len(frames) < 2:
        return float("nan")
    return float(np.polyfit(frames, series[frames], 1)[0] * 100)


def mean_curve(curves: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The mean figure at each frame number, over the sequences that are long enough and have one there."""
    longest = max(map(len, curves), default=0)
    padded = np.full((len(curves), longest), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve
    known = np.isfinite(padded)
    total, count = np.where(known, padded, 0).sum(axis=0), known.sum(axis=0)
    return np.divide(total, count, out=np.full(longest, np.nan), where=count > 0)


def frechet_distance(real: NDArray[np.floating], fake: NDArray[np.floating]) -> float:
    """Squared Fréchet distance of normal distributions fitted to features (N, D) and (M, D), N and M at least 2:
    |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) (Heusel et al., 2017, equation 6)."""
    assert min(len(real), len(fake)) >= 2 and real.shape[1] == fake.shape[1], (
        real.shape,
        fake.shape,
    )
    between = real.mean(axis=0, dtype=np.float64) - fake.mean(axis=0, dtype=np.float64)
    first, second = (
        np.atleast_2d(np.cov(features.astype(np.float64), rowvar=False))
        for features in (real, fake)
    )
    # the root's trace from the eigenvalues of the similar symmetric matrix: real numbers all the way
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    return float(max(between @ between + np.trace(first) + np.trace(second) - 2 * common, 0.0))


def mean_iou(counts: NDArray[np.integer]) -> float:
    """Mean over the labels that occur of intersection over union. counts: (N, N) pixels of label i taken for j."""
    union = counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts)
    occurs = union > 0
    return float((np.diag(counts)[occurs] / union[occurs]).mean()) if occurs.any() else float("nan")


def confusion_matrix(
    real: NDArray[np.integer], fake: NDArray[np.integer], label_nc: int
) -> NDArray[np.int64]:
    """(label_nc, label_nc) pixels of label i taken for j; labels outside 0..label_nc-1 do not count in `real`."""
    counted = (real >= 0) & (real < label_nc)
    pairs = real[counted].astype(np.int64) * label_nc + fake[counted]
    return np.bincount(pairs, minlength=label_nc**2).reshape(label_nc, label_nc)


def _scaled_difference(a: ImageArray, b: ImageArray) -> NDArray[np.float64]:
    return a / 255 - b / 255
