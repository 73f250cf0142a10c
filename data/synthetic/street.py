"""A street filmed from the side: houses, trees and road with parallax, moving cars and people.

Labels are Cityscapes' 35 ids. Lengths are in units of the image's height.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from data.synthetic.sprites import (
    Sprite,
    make_affine,
    make_full_mask,
    make_noise_texture,
    make_polygon_mask,
)

ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, SKY, PERSON, CAR = 7, 8, 11, 17, 21, 23, 24, 26
CAR_COLORS = ((170, 40, 40), (50, 70, 160), (200, 200, 195))
# outlines are in units of the sprite's size
CAR_OUTLINE = (
    (0, 0.45),
    (0.12, 0.42),
    (0.28, 0.08),
    (0.70, 0.08),
    (0.86, 0.42),
    (1, 0.5),
    (1, 0.85),
    (0, 0.85),
)
_CAR_WINDOW_OUTLINE = ((0.2, 0.4), (0.31, 0.15), (0.67, 0.15), (0.78, 0.4))
PERSON_OUTLINE = (
    (0.35, 0),
    (0.65, 0),
    (0.65, 0.16),
    (0.95, 0.22),
    (0.95, 0.6),
    (0.75, 0.6),
    (0.75, 1),
    (0.25, 1),
    (0.25, 0.6),
    (0.05, 0.6),
    (0.05, 0.22),
    (0.35, 0.16),
)


def generate_street_scene(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[list[Sprite]]:
    """Yield the sprites of each frame; size is (W, H)."""
    width, height = size
    road_speed = height * rng.uniform(0.008, 0.016)  # pixels per frame, to the left
    texture_width = width + int(np.ceil(road_speed * n_frames)) + 2
    backdrop = _make_backdrop(rng, size, texture_width)
    people = [
        (_make_person(rng, height, instance), *_sample_motion(rng, size, 0.62, 0.004))
        for instance in (1, 2)
    ]
    cars = [
        (_make_car(rng, height, instance), *_sample_motion(rng, size, 0.72 + 0.1 * instance, 0.02))
        for instance in (1, 2)
    ]
    for t in range(n_frames):
        background = [
            _move_sprite(sprite, -road_speed * relative_speed * t, 0)
            for sprite, relative_speed in backdrop
        ]
        things = [
            _move_sprite(sprite, x + step * t, y, growth**t)
            for sprite, x, y, step, growth in people + cars
        ]
        yield background + things


def _make_backdrop(
    rng: np.random.Generator, size: tuple[int, int], texture_width: int
) -> list[tuple[Sprite, float]]:
    """Make the background from back to front, with the speed of each sprite relative to the road's."""
    width, height = size
    houses_top = int(height * 0.08)
    curb = int(height * 0.55)
    road_top = int(height * 0.66)
    # The order fixes the random numbers of each texture.
    sky_texture = make_noise_texture(rng, size, (135, 175, 220), 12, height / 4)
    houses = _make_houses(rng, texture_width, houses_top, curb + 1)
    trees = _make_trees(rng, texture_width, houses_top, curb + 1)
    sidewalk_texture = make_noise_texture(
        rng, (texture_width, height), (185, 170, 165), 18, height / 20
    )
    return [
        (_make_strip(sky_texture, 0, SKY), 0.0),
        (houses, 0.5),
        (trees, 0.65),
        (_make_strip(sidewalk_texture, curb, SIDEWALK), 0.85),
        (_make_poles(texture_width, height, road_top), 0.85),
        (_make_road(rng, texture_width, height, road_top), 1.0),
    ]


def _make_strip(texture: np.ndarray, top: float, label: int) -> Sprite:
    return Sprite(texture, make_full_mask(texture.shape[1::-1]), make_affine(0, top), label)


def _make_houses(rng: np.random.Generator, texture_width: int, top: int, bottom: int) -> Sprite:
    height = bottom - top
    house_width = max(4, height // 2)
    texture = np.zeros((height, texture_width, 3), np.uint8)
    mask = np.zeros((height, texture_width), np.uint8)
    for left in range(0, texture_width, house_width):
        color = rng.uniform(90, 160) + rng.uniform(-20, 20, 3)
        front_size = (min(house_width, texture_width - left), height)
        front = make_noise_texture(rng, front_size, color, 10, height / 6)
        for y in range(height // 8, height, max(4, height // 4)):
            front[y : y + height // 8, house_width // 6 :: max(3, house_width // 3)] = (40, 45, 60)
        texture[:, left : left + house_width] = front
        roof = int(rng.uniform(0, height / 3))
        mask[roof:, left : left + house_width] = 255
    return Sprite(texture, mask, make_affine(0, top), BUILDING)


def _make_trees(rng: np.random.Generator, texture_width: int, top: int, bottom: int) -> Sprite:
    height = bottom - top
    crown_y = int(0.6 * height)
    mask = np.zeros((height, texture_width), np.uint8)
    for x in np.arange(rng.uniform(0, height), texture_width, 2.2 * height):
        cv2.circle(mask, (int(x), crown_y), int(0.28 * height), 255, -1)
        mask[crown_y:, int(x) : int(x + 0.1 * height) + 1] = 255  # trunk
    texture = make_noise_texture(rng, (texture_width, height), (60, 120, 45), 30, height / 12)
    return Sprite(texture, mask, make_affine(0, top), VEGETATION)


def _make_poles(texture_width: int, height: int, bottom: int) -> Sprite:
    mask = np.zeros((bottom, texture_width), np.uint8)
    for x in range(height // 2, texture_width, 2 * height):
        mask[int(0.2 * height) :, x : x + max(2, height // 40)] = 255
    texture = np.full((bottom, texture_width, 3), 150, np.uint8)
    return Sprite(texture, mask, np.eye(3), POLE)


def _make_road(rng: np.random.Generator, texture_width: int, height: int, top: int) -> Sprite:
    texture = make_noise_texture(rng, (texture_width, height - top), (95, 95, 100), 14, height / 16)
    middle = (height - top) // 2
    dash_length = height // 3
    for x in range(0, texture_width, 2 * dash_length):
        texture[middle : middle + max(2, height // 40), x : x + dash_length] = (225, 225, 225)
    return _make_strip(texture, top, ROAD)


def _make_car(rng: np.random.Generator, height: int, instance: int) -> Sprite:
    size = (int(0.55 * height), int(0.26 * height))
    color = CAR_COLORS[rng.integers(len(CAR_COLORS))]
    texture = make_noise_texture(rng, size, color, 18, height / 20)
    mask = make_polygon_mask(size, np.array(CAR_OUTLINE) * size)
    windows = (np.array(_CAR_WINDOW_OUTLINE) * size).astype(np.int32)
    cv2.fillPoly(texture, [windows], (190, 215, 230))
    radius = int(0.16 * size[1])
    for x in (0.22, 0.78):
        wheel = (int(x * size[0]), int(0.82 * size[1]))
        cv2.circle(mask, wheel, radius, 255, -1)
        cv2.circle(texture, wheel, radius, (25, 25, 25), -1)
    return Sprite(texture, mask, np.eye(3), CAR, instance)


def _make_person(rng: np.random.Generator, height: int, instance: int) -> Sprite:
    size = (max(6, int(0.11 * height)), int(0.3 * height))
    texture = make_noise_texture(rng, size, (200, 60, 90), 20, height / 24)
    texture[: int(0.16 * size[1])] = (225, 180, 150)
    texture[int(0.6 * size[1]) :] = (50, 50, 90)
    mask = make_polygon_mask(size, np.array(PERSON_OUTLINE) * size)
    return Sprite(texture, mask, np.eye(3), PERSON, instance)


def _sample_motion(
    rng: np.random.Generator, size: tuple[int, int], bottom: float, max_speed: float
) -> tuple[float, float, float, float]:
    """Sample the motion of a thing.

    Returns:
        x, y of its bottom center in the first frame, its step in pixels per frame, and its growth factor per frame.
    """
    width, height = size
    step = height * max_speed * rng.choice([-1, 1]) * rng.uniform(0.5, 1)
    x = width * rng.uniform(0.2, 0.8)
    y = height * (bottom + rng.uniform(0, 0.04))
    growth = rng.uniform(0.998, 1.006)
    return x, y, step, growth


def _move_sprite(sprite: Sprite, x: float, y: float, scale: float = 1) -> Sprite:
    """Move the bottom center of a thing to (x, y), or a backdrop (instance 0) by (x, y)."""
    height, width = sprite.mask.shape
    pivot = (width / 2, height - 1) if sprite.instance else (0, 0)
    affine = make_affine(x, y, scale=(scale, scale), pivot=pivot) @ sprite.affine
    return Sprite(sprite.texture, sprite.mask, affine, sprite.label, sprite.instance)
