"""A street passed by: houses, trees, pavement and road at their own speeds, cars and people among them.

Labels are Cityscapes' 35. Everything is laid out in units of the image's height.
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
    """The layers of `count` frames of size (W, H)."""
    width, height = size
    speed = height * rng.uniform(0.008, 0.016)  # of the road, pixels a frame, to the left
    reach = width + int(np.ceil(speed * n_frames)) + 2
    backdrop = _make_backdrop(rng, size, reach)
    people = [
        (_make_person(rng, height, n), *_sample_motion(rng, size, 0.62, 0.004)) for n in range(1, 3)
    ]
    cars = [
        (_make_car(rng, height, n), *_sample_motion(rng, size, 0.72 + 0.1 * n, 0.02))
        for n in range(1, 3)
    ]
    for t in range(n_frames):
        still = [_move_sprite(layer, -speed * depth * t, 0) for layer, depth in backdrop]
        yield still + [
            _move_sprite(thing, x + step * t, y, growth**t)
            for thing, x, y, step, growth in people + cars
        ]


def _make_backdrop(
    rng: np.random.Generator, size: tuple[int, int], texture_width: int
) -> list[tuple[Sprite, float]]:
    """Layers that go past, with their speed as a part of the road's."""
    width, height = size
    rows = {
        name: int(height * at) for name, at in {"houses": 0.08, "kerb": 0.55, "road": 0.66}.items()
    }
    return [
        (_make_strip(make_noise_texture(rng, size, (135, 175, 220), 12, height / 4), 0, SKY), 0.0),
        (_make_houses(rng, texture_width, rows["houses"], rows["kerb"] + 1), 0.5),
        (_make_trees(rng, texture_width, rows["houses"], rows["kerb"] + 1), 0.65),
        (
            _make_strip(
                make_noise_texture(rng, (texture_width, height), (185, 170, 165), 18, height / 20),
                rows["kerb"],
                SIDEWALK,
            ),
            0.85,
        ),
        (_make_poles(texture_width, height, rows["road"]), 0.85),
        (_make_road(rng, texture_width, height, rows["road"]), 1.0),
    ]


def _make_strip(texture: np.ndarray, top: float, label: int) -> Sprite:
    return Sprite(texture, make_full_mask(texture.shape[1::-1]), make_affine(0, top), label)


def _make_houses(rng: np.random.Generator, texture_width: int, top: int, bottom: int) -> Sprite:
    tall, wide = bottom - top, max(4, (bottom - top) // 2)
    texture, mask = (
        np.zeros((tall, texture_width, 3), np.uint8),
        np.zeros((tall, texture_width), np.uint8),
    )
    for left in range(0, texture_width, wide):
        colour = rng.uniform(90, 160) + rng.uniform(-20, 20, 3)
        front = make_noise_texture(
            rng, (min(wide, texture_width - left), tall), colour, 10, tall / 6
        )
        for y in range(tall // 8, tall, max(4, tall // 4)):
            front[y : y + tall // 8, wide // 6 :: max(3, wide // 3)] = (40, 45, 60)  # windows
        texture[:, left : left + wide] = front
        mask[int(rng.uniform(0, tall / 3)) :, left : left + wide] = 255
    return Sprite(texture, mask, make_affine(0, top), BUILDING)


def _make_trees(rng: np.random.Generator, texture_width: int, top: int, bottom: int) -> Sprite:
    tall = bottom - top
    mask = np.zeros((tall, texture_width), np.uint8)
    for x in np.arange(rng.uniform(0, tall), texture_width, 2.2 * tall):
        cv2.circle(mask, (int(x), int(0.6 * tall)), int(0.28 * tall), 255, -1)
        mask[int(0.6 * tall) :, int(x) : int(x + 0.1 * tall) + 1] = 255
    return Sprite(
        make_noise_texture(rng, (texture_width, tall), (60, 120, 45), 30, tall / 12),
        mask,
        make_affine(0, top),
        VEGETATION,
    )


def _make_poles(texture_width: int, height: int, bottom: int) -> Sprite:
    mask = np.zeros((bottom, texture_width), np.uint8)
    for x in range(height // 2, texture_width, 2 * height):
        mask[int(0.2 * height) :, x : x + max(2, height // 40)] = 255
    texture = np.full((bottom, texture_width, 3), 150, np.uint8)
    return Sprite(texture, mask, np.eye(3), POLE)


def _make_road(rng: np.random.Generator, texture_width: int, height: int, top: int) -> Sprite:
    texture = make_noise_texture(rng, (texture_width, height - top), (95, 95, 100), 14, height / 16)
    middle, dash = (height - top) // 2, height // 3
    for x in range(0, texture_width, 2 * dash):
        texture[middle : middle + max(2, height // 40), x : x + dash] = (225, 225, 225)
    return _make_strip(texture, top, ROAD)


def _make_car(rng: np.random.Generator, height: int, instance: int) -> Sprite:
    size = (int(0.55 * height), int(0.26 * height))
    texture = make_noise_texture(
        rng, size, CAR_COLORS[rng.integers(len(CAR_COLORS))], 18, height / 20
    )
    mask = make_polygon_mask(size, np.array(CAR_OUTLINE) * size)
    cv2.fillPoly(
        texture,
        [(np.array([(0.2, 0.4), (0.31, 0.15), (0.67, 0.15), (0.78, 0.4)]) * size).astype(np.int32)],
        (190, 215, 230),
    )
    for x in (0.22, 0.78):
        for canvas, colour in ((mask, 255), (texture, (25, 25, 25))):
            cv2.circle(
                canvas, (int(x * size[0]), int(0.82 * size[1])), int(0.16 * size[1]), colour, -1
            )
    return Sprite(texture, mask, np.eye(3), CAR, instance)


def _make_person(rng: np.random.Generator, height: int, instance: int) -> Sprite:
    size = (max(6, int(0.11 * height)), int(0.3 * height))
    texture = make_noise_texture(rng, size, (200, 60, 90), 20, height / 24)
    texture[: int(0.16 * size[1])] = (225, 180, 150)
    texture[int(0.6 * size[1]) :] = (50, 50, 90)
    return Sprite(
        texture,
        make_polygon_mask(size, np.array(PERSON_OUTLINE) * size),
        np.eye(3),
        PERSON,
        instance,
    )


def _sample_motion(
    rng: np.random.Generator, size: tuple[int, int], bottom: float, max_speed: float
) -> tuple[float, float, float, float]:
    """Where a thing stands at first (its bottom middle), its step a frame in pixels, its growth a frame."""
    width, height = size
    step = height * max_speed * rng.choice([-1, 1]) * rng.uniform(0.5, 1)
    return (
        width * rng.uniform(0.2, 0.8),
        height * (bottom + rng.uniform(0, 0.04)),
        step,
        rng.uniform(0.998, 1.006),
    )


def _move_sprite(sprite: Sprite, x: float, y: float, scale: float = 1) -> Sprite:
    """A thing with its bottom middle at (x, y); a backdrop (instance 0) moved on by (x, y)."""
    tall, wide = sprite.mask.shape
    about = (wide / 2, tall - 1) if sprite.instance else (0, 0)
    place = make_affine(x, y, scale=(scale, scale), pivot=about) @ sprite.affine
    return Sprite(sprite.texture, sprite.mask, place, sprite.label, sprite.instance)
