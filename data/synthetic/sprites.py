"""Flat textured sprites moved by affine maps, and all that is exactly known about an image made of them.

A point is (x, y) in pixels, pixel centres on whole numbers. A place is a 3x3 matrix from a sprite's points to the
image's. Masks have no soft edge, so that every pixel belongs to one layer and its flow is that layer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Sprite:
    """texture: (h, w, 3) uint8 RGB; mask: (h, w) uint8, not 0 where the layer covers; place: (3, 3) float64.

    label: class or part id of what it shows; instance: its number among things of that class, 0 for stuff."""

    texture: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    label: int = 0
    instance: int = 0


@dataclass(frozen=True)
class RenderedFrame:
    """image: (H, W, 3) uint8 RGB; owner: (H, W) int64, which layer each pixel shows."""

    image: np.ndarray
    sprite_index: np.ndarray


def render_sprites(sprites: Sequence[Sprite], size: tuple[int, int]) -> RenderedFrame:
    """Layers from back to front on an image of size (W, H); the first has to cover it."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    owner = np.zeros((height, width), np.int64)
    for number, layer in enumerate(sprites):
        affine = layer.affine[:2]
        covers = cv2.warpAffine(layer.mask, affine, size, flags=cv2.INTER_NEAREST) > 0
        shown = cv2.warpAffine(
            layer.texture, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        image[covers] = shown[covers]
        owner[covers] = number
    return RenderedFrame(image, owner)


def compute_backward_flow(
    sprites: Sequence[Sprite],
    previous_sprites: Sequence[Sprite],
    sprite_index: np.ndarray,
    previous_sprite_index: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(2, H, W) float32 flow from a frame to the one before, and (H, W) bool: where the point was visible there,
    with all four pixels that a bilinear look-up mixes."""
    came_from = np.stack(
        [
            old.affine @ np.linalg.inv(new.affine)
            for new, old in zip(sprites, previous_sprites, strict=True)
        ]
    )
    points = _make_pixel_grid(sprite_index.shape)
    sources = _apply_affine_per_pixel(came_from[sprite_index], points)
    return (sources - points).astype(np.float32), _bilinear_corners_visible(
        sprite_index, previous_sprite_index, sources
    )


def compute_sprite_coordinates(sprites: Sequence[Sprite], sprite_index: np.ndarray) -> np.ndarray:
    """(2, H, W) float64 in [0, 1]: where on its own sprite each pixel's point lies (x, y)."""
    sides = np.array(
        [[layer.mask.shape[1] - 1, layer.mask.shape[0] - 1] for layer in sprites], float
    )
    points = _apply_affine_per_pixel(
        np.stack([np.linalg.inv(layer.affine) for layer in sprites])[sprite_index],
        _make_pixel_grid(sprite_index.shape),
    )
    return np.clip(points / np.moveaxis(sides[sprite_index], -1, 0), 0, 1)


def gather_per_pixel(values: Sequence[int], sprite_index: np.ndarray) -> np.ndarray:
    """(H, W): each pixel's layer's value."""
    return np.array(values)[sprite_index]


def make_affine(
    x: float,
    y: float,
    *,
    scale: tuple[float, float] = (1, 1),
    degrees: float = 0,
    pivot: tuple[float, float] = (0, 0),
) -> np.ndarray:
    """The place that scales, then turns (clockwise on screen) a sprite about its point `about`, which comes to
    lie at (x, y)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    linear = np.array([[c, -s], [s, c]]) @ np.diag(scale)
    place = np.eye(3)
    place[:2, :2] = linear
    place[:2, 2] = np.array([x, y]) - linear @ pivot
    return place


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2) sprite points -> (N, 2) image points."""
    return points @ affine[:2, :2].T + affine[:2, 2]


def make_noise_texture(
    rng: np.random.Generator,
    size: tuple[int, int],
    color: Sequence[float] | np.ndarray,
    contrast: float,
    spot_size: float,
) -> np.ndarray:
    """(h, w, 3) uint8 of a colour with smooth spots of about `grain` pixels, more light and dark than coloured:
    something for flow to hold on to."""
    width, height = size
    cells = int(height / spot_size) + 2, int(width / spot_size) + 2
    coarse = (
        rng.normal(0, contrast, (*cells, 1)) + rng.normal(0, contrast / 3, (*cells, 3))
    ).astype(np.float32)
    spots = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(color) + spots, 0, 255).astype(np.uint8)


def make_polygon_mask(size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """(h, w) uint8 mask of a filled polygon, (N, 2) points."""
    mask = np.zeros(size[::-1], np.uint8)
    return cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)


def make_full_mask(size: tuple[int, int]) -> np.ndarray:
    return np.full(size[::-1], 255, np.uint8)


def _make_pixel_grid(shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.stack([columns, rows]).astype(float)


def _apply_affine_per_pixel(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(H, W, 3, 3) affine maps of (2, H, W) points."""
    return np.einsum("hwij,jhw->ihw", matrices[..., :2, :2], points) + np.moveaxis(
        matrices[..., :2, 2], -1, 0
    )


def _bilinear_corners_visible(
    sprite_index: np.ndarray, previous_sprite_index: np.ndarray, sources: np.ndarray
) -> np.ndarray:
    height, width = sprite_index.shape
    x, y = np.floor(np.round(sources, 6)).astype(
        int
    )  # rounded: 4.9999999 is the pixel 5, whose left one is not used
    inside = (x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1)
    x, y = np.clip(x, 0, width - 2), np.clip(y, 0, height - 2)
    corners = [
        previous_sprite_index[y + dy, x + dx] == sprite_index for dy in (0, 1) for dx in (0, 1)
    ]
    return np.logical_and.reduce([inside, *corners])
