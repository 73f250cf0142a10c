"""Rasterize keypoints: fitted curves, brushes and distance maps.

Points are (N, 2) float64, x before y, in pixels. A curve is an (M, 2) int64 array of pixels, x before y.

as published: every truncation, every order and the residual of the iterative curve fit decide single
pixels here. Published weights were trained on exactly these pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import leastsq

# Largest |a| of a parabola y = a x² + b x + c that is drawn; a sharper one is no smooth contour.
MAX_CURVATURE = 1

Points = NDArray[np.float64]
PixelCoordinates = NDArray[np.int64]


def make_square_brush(low: int, high: int) -> PixelCoordinates:
    """Return the offsets (x, y) of the square {low..high-1}², row by row."""
    return np.array([(x, y) for y in range(low, high) for x in range(low, high)])


def make_disc_brush(radius: int) -> PixelCoordinates:
    """Return the offsets of `make_square_brush(-radius, radius)` nearer to 0 than the radius."""
    offsets = make_square_brush(-radius, radius)
    return offsets[(offsets**2).sum(axis=1) < radius**2]


def split_into_triples(contour: Points) -> Iterator[Points]:
    """Yield pieces of three points, neighbors sharing one; the last may have two points."""
    for start in range(0, len(contour) - 1, 2):
        yield contour[start : start + 3]


def rasterize_curve(points: Points) -> PixelCoordinates:
    """Return the pixels of the line through two points or the parabola through three.

    The result is empty if the parabola is too sharp.
    """
    # The curve is a function of the axis along which the points are further apart.
    steps = np.abs(np.diff(points, axis=0)).max(axis=0)
    if steps[0] < steps[1]:
        return rasterize_curve_over_x(points[:, ::-1])[:, ::-1]
    return rasterize_curve_over_x(points)


def rasterize_curve_over_x(points: Points) -> PixelCoordinates:
    """Return the pixels of the curve through the points as a function y(x).

    The curve runs from the first point's x to the last point's, with about one sample per pixel.
    """
    a, b, c = fit_polynomial(*points.T)
    if abs(a) > MAX_CURVATURE:
        return np.empty((0, 2), np.int64)
    first, last = sorted((points[0, 0], points[-1, 0]))
    # as published: the number of samples is the truncated distance, both ends included, so the
    # spacing is a little more than a pixel. Coordinates are truncated, not rounded.
    x = np.linspace(first, last, int(last - first))
    y = a * x**2 + b * x + c
    return np.stack([x, y], axis=1).astype(np.int64)


def fit_polynomial(x: Points, y: Points) -> tuple[float, float, float]:
    """Fit y = a x² + b x + c by Levenberg-Marquardt, starting from ones; a = 0 for two points.

    The result equals `scipy.optimize.curve_fit` with its defaults to the last bit. This calls the
    underlying `leastsq` to skip the covariance, which is undefined for as many points as parameters.
    """

    # as published: not solved exactly. The residual of the iteration decides where the truncation of
    # coordinates falls.
    def line_residual(p: Points) -> Points:
        return p[0] * x + p[1] - y

    def parabola_residual(p: Points) -> Points:
        return p[0] * x**2 + p[1] * x + p[2] - y

    if len(x) < 3:
        (b, c), _ = leastsq(line_residual, np.ones(2))
        return 0.0, b, c
    (a, b, c), _ = leastsq(parabola_residual, np.ones(3))
    return a, b, c


def compute_brush_indices(
    pixels: PixelCoordinates, brush: PixelCoordinates, size: tuple[int, int]
) -> NDArray[np.int64]:
    """Return flat indices (K, M) of M pixels, moved by each of K brush offsets.

    Args:
        pixels: (M, 2).
        brush: (K, 2) offsets.
        size: (w, h) of the image that the indices point into. Pixels outside are clamped to its border.
    """
    w, h = size
    moved = np.clip(pixels + brush[:, None], 0, (w - 1, h - 1))
    return moved[..., 1] * w + moved[..., 0]


def blend_brush(
    canvas: NDArray[np.uint16], brush_indices: NDArray[np.int64], color: tuple[int, int, int]
) -> None:
    """Draw a curve on the canvas in place, one brush offset after the other.

    Args:
        canvas: (H, W, 3) with values 0..255; uint16, so that a sum of two colors does not overflow.
        brush_indices: (K, M) flat indices, as returned by `compute_brush_indices`.
        color: RGB.
    """
    pixels = canvas.reshape(-1, 3)
    new = np.array(color, np.uint16)
    for indices in brush_indices:
        # as published: if all pixels under an offset are black they get the color. If a single one
        # is not, all of them, black ones too, get the truncated mean of their old color and the new.
        # Offsets overlap, so a curve also blends with itself.
        old = pixels[indices]
        pixels[indices] = (old + new) // 2 if old.any() else new


def compute_distance_map(
    pixel_indices: PixelCoordinates, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a map (H, W) of the city-block distance to the nearest drawn pixel, divided by 3.

    Values are truncated and at most 255; all are 255 if no pixel is drawn.

    Args:
        pixel_indices: flat indices of the drawn pixels, into an image of `size`.
        size: (w, h).
    """
    background = np.ones(size[::-1], np.uint8)
    background.flat[pixel_indices] = 0
    distance = cv2.distanceTransform(background, cv2.DIST_L1, 3)
    return np.clip(distance / 3, 0, 255).astype(np.uint8)
