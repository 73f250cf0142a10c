"""Keypoints -> pixels: fitted curves, brushes, distance maps (SPEC 4 and 5).

Points are (N, 2) float64, x before y, in pixels. A curve is the (M, 2) int64 pixels, x before y, that its pen visits.
Every truncation, order and residue here decides single pixels, and published weights were trained on those pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import leastsq

MAX_CURVATURE = (
    1  # |a| of the sharpest parabola drawn: beyond it the three points are no smooth contour
)

Points = NDArray[np.float64]
PixelCoordinates = NDArray[np.int64]


def make_square_brush(low: int, high: int) -> PixelCoordinates:
    """Brush offsets {low..high-1}², rows outer, columns inner."""
    return np.array([(x, y) for y in range(low, high) for x in range(low, high)])


def make_disc_brush(radius: int) -> PixelCoordinates:
    """Brush offsets of `square(-radius, radius)` that lie nearer to the centre than the radius."""
    offsets = make_square_brush(-radius, radius)
    return offsets[(offsets**2).sum(axis=1) < radius**2]


def split_into_triples(contour: Points) -> Iterator[Points]:
    """A run cut into pieces of three points (two where it ends), neighbours sharing one."""
    for start in range(0, len(contour) - 1, 2):
        yield contour[start : start + 3]


def rasterize_curve(points: Points) -> PixelCoordinates:
    """Pixels of the line through two points or the parabola through three; none where that would be too sharp.

    The axis with the larger step is the abscissa, sampled about once a pixel between the first and the last point.
    """
    steps = np.abs(np.diff(points, axis=0)).max(axis=0)
    if steps[0] < steps[1]:
        return rasterize_curve_over_x(points[:, ::-1])[:, ::-1]
    return rasterize_curve_over_x(points)


def rasterize_curve_over_x(points: Points) -> PixelCoordinates:
    """`curve` with x as the abscissa."""
    a, b, c = fit_polynomial(*points.T)
    if abs(a) > MAX_CURVATURE:
        return np.empty((0, 2), np.int64)
    first, last = sorted((points[0, 0], points[-1, 0]))
    x = np.linspace(first, last, int(last - first))
    y = a * x**2 + b * x + c
    return np.stack([x, y], axis=1).astype(np.int64)


def fit_polynomial(x: Points, y: Points) -> tuple[float, float, float]:
    """a, b, c of y = a x² + b x + c by Levenberg-Marquardt from ones; a = 0 for two points.

    This is what `scipy.optimize.curve_fit` computes by default, to the last bit, without the covariance that as many
    points as parameters cannot give. The residue of the iteration decides where truncation falls: no exact solve.
    """
    if len(x) < 3:
        (b, c), _ = leastsq(lambda p: p[0] * x + p[1] - y, np.ones(2))
        return 0.0, b, c
    (a, b, c), _ = leastsq(lambda p: p[0] * x**2 + p[1] * x + p[2] - y, np.ones(3))
    return a, b, c


def compute_brush_indices(
    pixels: PixelCoordinates, brush: PixelCoordinates, size: tuple[int, int]
) -> NDArray[np.int64]:
    """(K, M) flat indices into an image of `size` (w, h): M pixels under each of K brush offsets, clamped to it."""
    w, h = size
    moved = np.clip(pixels + brush[:, None], 0, (w - 1, h - 1))
    return moved[..., 1] * w + moved[..., 0]


def blend_brush(
    canvas: NDArray[np.uint16], brush_indices: NDArray[np.int64], color: tuple[int, int, int]
) -> None:
    """Draws on the canvas (H, W, 3; values 0..255) stamp by stamp: where all pixels of a stamp (a row of `marks`) are
    black they take the colour, otherwise every one of them becomes the mean of old and colour, truncated."""
    pixels, new = canvas.reshape(-1, 3), np.array(color, np.uint16)
    for mark in brush_indices:
        old = pixels[mark]
        pixels[mark] = (old + new) // 2 if old.any() else new


def compute_distance_map(
    pixel_indices: PixelCoordinates, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """(H, W) city-block distance to the nearest drawn pixel, a third of it, at most 255 (also where none is drawn).
    drawn: flat indices into an image of `size` (w, h)."""
    blank = np.ones(size[::-1], np.uint8)
    blank.flat[pixel_indices] = 0
    distance = cv2.distanceTransform(blank, cv2.DIST_L1, 3)
    return np.clip(distance / 3, 0, 255).astype(np.uint8)
