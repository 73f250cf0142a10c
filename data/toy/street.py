"""A street passed by: houses, trees, pavement and road at their own speeds, cars and people among them.

Labels are Cityscapes' 35. Everything is laid out in units of the picture's height.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from data.toy.layers import Layer, full_mask, moved, noise_texture, polygon_mask

ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, SKY, PERSON, CAR = 7, 8, 11, 17, 21, 23, 24, 26
CAR_COLOURS = ((170, 40, 40), (50, 70, 160), (200, 200, 195))
CAR_OUTLINE = ((0, .45), (.12, .42), (.28, .08), (.70, .08), (.86, .42), (1, .5), (1, .85), (0, .85))
PERSON_OUTLINE = ((.35, 0), (.65, 0), (.65, .16), (.95, .22), (.95, .6), (.75, .6), (.75, 1), (.25, 1), (.25, .6),
                  (.05, .6), (.05, .22), (.35, .16))


def street_scene(rng: np.random.Generator, size: tuple[int, int], count: int) -> Iterator[list[Layer]]:
    """The layers of `count` frames of size (W, H)."""
    width, height = size
    speed = height * rng.uniform(.008, .016)  # of the road, pixels a frame, to the left
    reach = width + int(np.ceil(speed * count)) + 2
    backdrop = _backdrop(rng, size, reach)
    people = [(_person(rng, height, n), *_walk(rng, size, .62, .004)) for n in range(1, 3)]
    cars = [(_car(rng, height, n), *_walk(rng, size, .72 + .1 * n, .02)) for n in range(1, 3)]
    for t in range(count):
        still = [_shifted(layer, -speed * depth * t, 0) for layer, depth in backdrop]
        yield still + [_shifted(thing, x + step * t, y, growth ** t) for thing, x, y, step, growth in people + cars]


def _backdrop(rng: np.random.Generator, size: tuple[int, int], reach: int) -> list[tuple[Layer, float]]:
    """Layers that go past, with their speed as a part of the road's."""
    width, height = size
    rows = {name: int(height * at) for name, at in {"houses": .08, "kerb": .55, "road": .66}.items()}
    return [
        (_strip(noise_texture(rng, size, (135, 175, 220), 12, height / 4), 0, SKY), 0.),
        (_houses(rng, reach, rows["houses"], rows["kerb"] + 1), .5),
        (_trees(rng, reach, rows["houses"], rows["kerb"] + 1), .65),
        (_strip(noise_texture(rng, (reach, height), (185, 170, 165), 18, height / 20), rows["kerb"], SIDEWALK), .85),
        (_poles(reach, height, rows["road"]), .85),
        (_road(rng, reach, height, rows["road"]), 1.),
    ]


def _strip(texture: np.ndarray, top: float, label: int) -> Layer:
    return Layer(texture, full_mask(texture.shape[1::-1]), moved(0, top), label)


def _houses(rng: np.random.Generator, reach: int, top: int, bottom: int) -> Layer:
    tall, wide = bottom - top, max(4, (bottom - top) // 2)
    texture, mask = np.zeros((tall, reach, 3), np.uint8), np.zeros((tall, reach), np.uint8)
    for left in range(0, reach, wide):
        colour = rng.uniform(90, 160) + rng.uniform(-20, 20, 3)
        front = noise_texture(rng, (min(wide, reach - left), tall), colour, 10, tall / 6)
        for y in range(tall // 8, tall, max(4, tall // 4)):
            front[y:y + tall // 8, wide // 6::max(3, wide // 3)] = (40, 45, 60)  # windows
        texture[:, left:left + wide] = front
        mask[int(rng.uniform(0, tall / 3)):, left:left + wide] = 255
    return Layer(texture, mask, moved(0, top), BUILDING)


def _trees(rng: np.random.Generator, reach: int, top: int, bottom: int) -> Layer:
    tall = bottom - top
    mask = np.zeros((tall, reach), np.uint8)
    for x in np.arange(rng.uniform(0, tall), reach, 2.2 * tall):
        cv2.circle(mask, (int(x), int(.6 * tall)), int(.28 * tall), 255, -1)
        mask[int(.6 * tall):, int(x):int(x + .1 * tall) + 1] = 255
    return Layer(noise_texture(rng, (reach, tall), (60, 120, 45), 30, tall / 12), mask, moved(0, top), VEGETATION)


def _poles(reach: int, height: int, bottom: int) -> Layer:
    mask = np.zeros((bottom, reach), np.uint8)
    for x in range(height // 2, reach, 2 * height):
        mask[int(.2 * height):, x:x + max(2, height // 40)] = 255
    texture = np.full((bottom, reach, 3), 150, np.uint8)
    return Layer(texture, mask, np.eye(3), POLE)


def _road(rng: np.random.Generator, reach: int, height: int, top: int) -> Layer:
    texture = noise_texture(rng, (reach, height - top), (95, 95, 100), 14, height / 16)
    middle, dash = (height - top) // 2, height // 3
    for x in range(0, reach, 2 * dash):
        texture[middle:middle + max(2, height // 40), x:x + dash] = (225, 225, 225)
    return _strip(texture, top, ROAD)


def _car(rng: np.random.Generator, height: int, number: int) -> Layer:
    size = (int(.55 * height), int(.26 * height))
    texture = noise_texture(rng, size, CAR_COLOURS[rng.integers(len(CAR_COLOURS))], 18, height / 20)
    mask = polygon_mask(size, np.array(CAR_OUTLINE) * size)
    cv2.fillPoly(texture, [(np.array([(.2, .4), (.31, .15), (.67, .15), (.78, .4)]) * size).astype(np.int32)],
                 (190, 215, 230))
    for x in (.22, .78):
        for canvas, colour in ((mask, 255), (texture, (25, 25, 25))):
            cv2.circle(canvas, (int(x * size[0]), int(.82 * size[1])), int(.16 * size[1]), colour, -1)
    return Layer(texture, mask, np.eye(3), CAR, number)


def _person(rng: np.random.Generator, height: int, number: int) -> Layer:
    size = (max(6, int(.11 * height)), int(.3 * height))
    texture = noise_texture(rng, size, (200, 60, 90), 20, height / 24)
    texture[:int(.16 * size[1])] = (225, 180, 150)
    texture[int(.6 * size[1]):] = (50, 50, 90)
    return Layer(texture, polygon_mask(size, np.array(PERSON_OUTLINE) * size), np.eye(3), PERSON, number)


def _walk(rng: np.random.Generator, size: tuple[int, int], foot: float, fastest: float
          ) -> tuple[float, float, float, float]:
    """Where a thing stands at first (its bottom middle), its step a frame in pixels, its growth a frame."""
    width, height = size
    step = height * fastest * rng.choice([-1, 1]) * rng.uniform(.5, 1)
    return width * rng.uniform(.2, .8), height * (foot + rng.uniform(0, .04)), step, rng.uniform(.998, 1.006)


def _shifted(layer: Layer, x: float, y: float, scale: float = 1) -> Layer:
    """A thing with its bottom middle at (x, y); a backdrop (instance 0) moved on by (x, y)."""
    tall, wide = layer.mask.shape
    about = (wide / 2, tall - 1) if layer.instance else (0, 0)
    place = moved(x, y, scale=(scale, scale), about=about) @ layer.place
    return Layer(layer.texture, layer.mask, place, layer.label, layer.instance)
