"""Tests of drawing: pixel for pixel against simple loops that follow the published definition."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import OptimizeWarning, curve_fit

from data.drawing import (
    Points,
    blend_brush,
    compute_brush_indices,
    compute_distance_map,
    fit_polynomial,
    make_disc_brush,
    make_square_brush,
    rasterize_curve,
    split_into_triples,
)

COORDINATES = st.one_of(st.integers(-20, 300), st.floats(-20, 300, allow_nan=False, width=32))
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=2, max_size=3).map(
    lambda p: np.array(p, float)
)
Pixel = tuple[int, int]


def fit_with_scipy(x: Points, y: Points) -> Points:
    with pytest.warns(OptimizeWarning):  # as many points as parameters leave no covariance
        if len(x) == 2:
            return curve_fit(lambda x, a, b: a * x + b, x, y)[0]
        return curve_fit(lambda x, a, b, c: a * x**2 + b * x + c, x, y)[0]


def reference_curve(points: Points) -> list[Pixel]:
    x, y = points.T
    if max(abs(x[1:] - x[:-1])) < max(abs(y[1:] - y[:-1])):
        return [(x, y) for y, x in reference_curve_over_x(y, x)]
    return reference_curve_over_x(x, y)


def reference_curve_over_x(x: Points, y: Points) -> list[Pixel]:
    *a, b, c = fit_with_scipy(x, y)
    if a and abs(a[0]) > 1:
        return []
    if x[0] > x[-1]:
        x = x[::-1]
    samples = np.linspace(x[0], x[-1], int(x[-1] - x[0]))
    ordinates = a[0] * samples**2 + b * samples + c if a else b * samples + c
    return [(int(sample), int(y)) for sample, y in zip(samples, ordinates, strict=True)]


@settings(max_examples=80, deadline=None)
@given(POINTS)
def test_polynomial_fit_is_bitwise_equal_to_scipy(points: Points) -> None:
    assert np.array_equal(fit_polynomial(*points.T)[3 - len(points) :], fit_with_scipy(*points.T))


@settings(max_examples=80, deadline=None)
@given(POINTS)
def test_curve_covers_the_pixels_of_its_definition(points: Points) -> None:
    assert [tuple(pixel) for pixel in rasterize_curve(points).tolist()] == reference_curve(points)


def test_parabola_of_too_high_curvature_is_not_drawn() -> None:
    assert len(rasterize_curve(np.array([[0, 0], [10, 101], [20, 0]]) * 1.0)) == 0
    assert len(rasterize_curve(np.array([[0, 0], [100, 99], [200, 0]]) * 1.0)) == 200


@pytest.mark.parametrize(
    ("length", "expected"), [(2, [2]), (3, [3]), (4, [3, 2]), (5, [3, 3]), (33, [3] * 16)]
)
def test_contour_is_split_into_triples_that_share_endpoints(
    length: int, expected: list[int]
) -> None:
    contour = np.arange(2.0 * length).reshape(-1, 2)
    pieces = list(split_into_triples(contour))
    assert [len(piece) for piece in pieces] == expected
    assert all((a[-1] == b[0]).all() for a, b in pairwise(pieces))
    assert (pieces[-1][-1] == contour[-1]).all()


def test_brush_indices_are_row_major() -> None:
    assert make_square_brush(-1, 1).tolist() == [[-1, -1], [0, -1], [-1, 0], [0, 0]]
    disc = [(x, y) for y in range(-6, 6) for x in range(-6, 6) if x * x + y * y < 36]
    assert [tuple(offset) for offset in make_disc_brush(6).tolist()] == disc


def reference_blend(
    canvas: dict[Pixel, list[int]],
    pixels: Sequence[Pixel],
    brush: Sequence[Pixel],
    color: Sequence[int],
    size: Pixel,
) -> None:
    """Blend a curve pixel by pixel, as the release does. `canvas` holds the pixels that are not black."""
    for dx, dy in brush:
        cells = {
            (min(max(x + dx, 0), size[0] - 1), min(max(y + dy, 0), size[1] - 1)) for x, y in pixels
        }
        if not any(cell in canvas for cell in cells):
            canvas.update((cell, list(color)) for cell in cells)
            continue
        for cell in cells:
            mixed = [
                int((old + new) / 2)
                for old, new in zip(canvas.get(cell, [0, 0, 0]), color, strict=True)
            ]
            canvas.pop(cell, None)
            if any(mixed):
                canvas[cell] = mixed


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(POINTS, st.tuples(*[st.integers(1, 255)] * 3)), min_size=1, max_size=5))
def test_brush_blending_matches_its_definition(
    lines: list[tuple[Points, tuple[int, int, int]]],
) -> None:
    size = (150, 120)  # some points lie outside
    canvas = np.zeros((*size[::-1], 3), np.uint16)
    reference: dict[Pixel, list[int]] = {}
    for points, color in lines:
        for brush in (make_square_brush(-3, 3), make_disc_brush(2)):
            pixels = rasterize_curve(points)
            blend_brush(canvas, compute_brush_indices(pixels, brush, size), color)
            reference_blend(reference, pixels.tolist(), brush.tolist(), color, size)
    expected = np.zeros_like(canvas)
    for (x, y), value in reference.items():
        expected[y, x] = value
    assert np.array_equal(canvas, expected)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40 * 30 - 1), min_size=1, max_size=6))
def test_distance_is_a_third_of_the_city_block_distance(indices: list[int]) -> None:
    w, h = 40, 30

    def distance_at(x: int, y: int) -> int:
        return min(abs(x - index % w) + abs(y - index // w) for index in indices)

    distance = np.array([[distance_at(x, y) for x in range(w)] for y in range(h)])
    assert np.array_equal(compute_distance_map(np.array(indices), (w, h)), distance // 3)


def test_distance_is_clamped_at_255() -> None:
    distance = compute_distance_map(np.array([0]), (900, 1))
    assert (distance[0, 765], distance[0, 764], distance[0, 899]) == (255, 254, 255)
    assert (compute_distance_map(np.array([], int), (4, 3)) == 255).all()
