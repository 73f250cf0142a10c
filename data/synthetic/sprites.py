"""Textured 2-D sprites moved by affine maps, and the exact flow between images rendered from them.

Points are (x, y) in pixels, with pixel centers at integers. An affine is a 3x3 matrix from a sprite's points to the
image's. Masks are binary, so that every pixel belongs to one sprite and moves with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Sprite:
    """A textured shape.

    Attributes:
        texture: (h, w, 3) uint8 RGB.
        mask: (h, w) uint8, nonzero where the sprite is opaque.
        affine: (3, 3) float64, from sprite points to image points.
        label: Class or body part id.
        instance: Number among the things of its class; 0 for stuff.
    """

    texture: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    label: int = 0
    instance: int = 0


@dataclass(frozen=True)
class RenderedFrame:
    """An image rendered from sprites.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        sprite_index: (H, W) int64, index of the visible sprite at each pixel.
    """

    image: np.ndarray
    sprite_index: np.ndarray


def render_sprites(sprites: Sequence[Sprite], size: tuple[int, int]) -> RenderedFrame:
    """Render sprites from back to front on an image of size (W, H), which the first one must cover."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    sprite_index = np.zeros((height, width), np.int64)
    for index, sprite in enumerate(sprites):
        affine = sprite.affine[:2]
        is_covered = cv2.warpAffine(sprite.mask, affine, size, flags=cv2.INTER_NEAREST) > 0
        texture = cv2.warpAffine(
            sprite.texture, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        image[is_covered] = texture[is_covered]
        sprite_index[is_covered] = index
    return RenderedFrame(image, sprite_index)


def compute_backward_flow(
    sprites: Sequence[Sprite],
    previous_sprites: Sequence[Sprite],
    sprite_index: np.ndarray,
    previous_sprite_index: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the flow from a frame to the previous one.

    Args:
        sprites: Of the frame.
        previous_sprites: The same sprites in the previous frame.
        sprite_index: (H, W) of the frame, as in `RenderedFrame`.
        previous_sprite_index: (H, W) of the previous frame.

    Returns:
        flow, (2, H, W) float32 in pixels; and visible, (H, W) bool: all four pixels that bilinear sampling reads in the
        previous frame belong to the same sprite.
    """
    to_previous = np.stack(
        [
            previous.affine @ np.linalg.inv(current.affine)
            for current, previous in zip(sprites, previous_sprites, strict=True)
        ]
    )
    points = _make_pixel_grid(sprite_index.shape)
    previous_points = _apply_affine_per_pixel(to_previous[sprite_index], points)
    flow = (previous_points - points).astype(np.float32)
    visible = _bilinear_corners_visible(sprite_index, previous_sprite_index, previous_points)
    return flow, visible


def compute_sprite_coordinates(sprites: Sequence[Sprite], sprite_index: np.ndarray) -> np.ndarray:
    """Compute each pixel's position on its own sprite, (2, H, W) float64 x, y in [0, 1]."""
    max_points = np.array(
        [[sprite.mask.shape[1] - 1, sprite.mask.shape[0] - 1] for sprite in sprites], float
    )
    to_sprite = np.stack([np.linalg.inv(sprite.affine) for sprite in sprites])
    grid = _make_pixel_grid(sprite_index.shape)
    points = _apply_affine_per_pixel(to_sprite[sprite_index], grid)
    return np.clip(points / np.moveaxis(max_points[sprite_index], -1, 0), 0, 1)


def gather_per_pixel(values: Sequence[int], sprite_index: np.ndarray) -> np.ndarray:
    """Return the value of each pixel's sprite, (H, W)."""
    return np.array(values)[sprite_index]


def make_affine(
    x: float,
    y: float,
    *,
    scale: tuple[float, float] = (1, 1),
    degrees: float = 0,
    pivot: tuple[float, float] = (0, 0),
) -> np.ndarray:
    """Build the affine that scales, rotates clockwise about `pivot`, and moves `pivot` to (x, y)."""
    cosine = np.cos(np.radians(degrees))
    sine = np.sin(np.radians(degrees))
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag(scale)
    affine = np.eye(3)
    affine[:2, :2] = linear
    affine[:2, 2] = np.array([x, y]) - linear @ pivot
    return affine


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map sprite points (N, 2) to image points (N, 2)."""
    return points @ affine[:2, :2].T + affine[:2, 2]


def make_noise_texture(
    rng: np.random.Generator,
    size: tuple[int, int],
    color: Sequence[float] | np.ndarray,
    contrast: float,
    spot_size: float,
) -> np.ndarray:
    """Make a texture that optical flow can follow: a color with smooth random spots.

    The spots vary more in brightness than in hue.

    Args:
        rng: Source of the random numbers.
        size: (w, h).
        color: RGB, 0..255.
        contrast: Standard deviation of the brightness of the spots.
        spot_size: In pixels.

    Returns:
        (h, w, 3) uint8.
    """
    width, height = size
    grid_size = int(height / spot_size) + 2, int(width / spot_size) + 2
    brightness = rng.normal(0, contrast, (*grid_size, 1))
    hue = rng.normal(0, contrast / 3, (*grid_size, 3))
    coarse = (brightness + hue).astype(np.float32)
    spots = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(color) + spots, 0, 255).astype(np.uint8)


def make_polygon_mask(size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """Make the mask of a filled polygon with (N, 2) corners, (h, w) uint8."""
    mask = np.zeros(size[::-1], np.uint8)
    return cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)


def make_full_mask(size: tuple[int, int]) -> np.ndarray:
    """Make a mask that covers a whole texture of size (w, h)."""
    return np.full(size[::-1], 255, np.uint8)


def _make_pixel_grid(shape: tuple[int, ...]) -> np.ndarray:
    """Return the (x, y) of each pixel, (2, H, W) float64."""
    rows, columns = np.indices(shape)
    return np.stack([columns, rows]).astype(float)


def _apply_affine_per_pixel(affines: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply (H, W, 3, 3) affines to (2, H, W) points."""
    linear = np.einsum("hwij,jhw->ihw", affines[..., :2, :2], points)
    return linear + np.moveaxis(affines[..., :2, 2], -1, 0)


def _bilinear_corners_visible(
    sprite_index: np.ndarray, previous_sprite_index: np.ndarray, previous_points: np.ndarray
) -> np.ndarray:
    height, width = sprite_index.shape
    # rounded: 4.9999999 is pixel 5, and sampling there does not read pixel 4
    x, y = np.floor(np.round(previous_points, 6)).astype(int)
    is_inside = (x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1)
    x = np.clip(x, 0, width - 2)
    y = np.clip(y, 0, height - 2)
    same_sprite = [
        previous_sprite_index[y + dy, x + dx] == sprite_index for dy in (0, 1) for dx in (0, 1)
    ]
    return np.logical_and.reduce([is_inside, *same_sprite])
