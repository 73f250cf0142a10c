"""A drawn head that turns, blinks and talks, and its 68 landmarks in dlib's order (left is the picture's left)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from data.toy.layers import Layer, full_mask, moved, noise_texture, polygon_mask, transform

PARTS = {"head": range(17), "left brow": range(17, 22), "right brow": range(22, 27), "nose": range(27, 36),
         "left eye": range(36, 42), "right eye": range(42, 48), "mouth": range(48, 68)}


def _landmarks() -> np.ndarray:
    """(68, 2) in [0, 1]², the head's own square."""
    def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: np.ndarray) -> np.ndarray:
        return np.stack([cx + rx * np.cos(np.radians(degrees)), cy + ry * np.sin(np.radians(degrees))], 1)
    around = 180 + np.arange(0, 360, 60)
    corners = 180 + np.arange(0, 360, 30)
    return np.concatenate([
        ellipse(.5, .45, .30, .42, np.linspace(180, 0, 17)),
        *(ellipse(cx, .37, .09, .05, np.linspace(195, 345, 5)) for cx in (.36, .64)),
        np.stack([np.full(4, .5), np.linspace(.43, .57, 4)], 1), ellipse(.5, .60, .07, .025, np.linspace(180, 0, 5)),
        *(ellipse(cx, .44, .065, .03, around) for cx in (.36, .64)),
        ellipse(.5, .73, .13, .05, corners), ellipse(.5, .73, .08, .022, 180 + np.arange(0, 360, 45)),
    ])


LANDMARKS = _landmarks()
HEAD_SIDE = .64  # of the picture: the published crop, 2.5 faces wide, then lies within it


@dataclass(frozen=True)
class Look:
    """How the head is held in a frame. turn: -1 (left) .. 1; degrees: tilt; open, shut: mouth and eyes, 0..1."""

    turn: float
    degrees: float
    open: float
    shut: float


def face_scene(rng: np.random.Generator, size: tuple[int, int], count: int
               ) -> Iterator[tuple[list[Layer], np.ndarray]]:
    """The layers and the (68, 2) landmarks of `count` frames of size (W, H)."""
    side = int(HEAD_SIDE * min(size))
    sprites = head_sprites(rng, side)
    behind = [Layer(noise_texture(rng, size, rng.uniform(70, 190, 3), 25, side / 5), full_mask(size), np.eye(3)),
              _shoulders(rng, size, side)]
    phases = rng.uniform(0, 2 * np.pi, 3)
    for t in range(count):
        places = head_places(_look(phases, t), side, (size[0] / 2, size[1] / 2))
        yield behind + place_sprites(sprites, places), place_landmarks(places, side)


def _look(phases: np.ndarray, t: int) -> Look:
    swing = np.sin(phases + np.array([.25, .18, .7]) * t)
    return Look(swing[0], 6 * swing[1], .5 + .5 * swing[2], float(np.exp(-((t + 5 * phases[0]) % 17 - 8) ** 2 / 2)))


def head_places(look: Look, side: float, centre: tuple[float, float]) -> dict[str, np.ndarray]:
    """Each part's place on a picture, for a head `side` pixels large whose middle lies at `centre`."""
    middle, x = side / 2, look.turn * side * .05
    head = moved(centre[0] + x, centre[1], degrees=look.degrees, about=(middle, middle))
    features = head @ moved(look.turn * side * .03, 0)  # what stands out of the face turns further than its outline
    places = dict.fromkeys(PARTS, features) | {"head": head}
    for eye, at in (("left eye", .36), ("right eye", .64)):
        pivot = (at * side, .44 * side)
        places[eye] = features @ moved(*pivot, scale=(1, 1 - .85 * look.shut), about=pivot)
    lip = (middle, .69 * side)
    places["mouth"] = features @ moved(*lip, scale=(1 - .15 * look.open, .6 + .9 * look.open), about=lip)
    return places


def place_landmarks(places: dict[str, np.ndarray], side: float) -> np.ndarray:
    """(68, 2) picture points."""
    return np.concatenate([transform(places[name], LANDMARKS[list(part)] * side) for name, part in PARTS.items()])


def place_sprites(sprites: list[tuple[str, Layer]], places: dict[str, np.ndarray]) -> list[Layer]:
    return [Layer(sprite.texture, sprite.mask, places[part], sprite.label) for part, sprite in sprites]


def head_sprites(rng: np.random.Generator, side: int) -> list[tuple[str, Layer]]:
    """(part that carries it, sprite), from back to front; each on a square of `side` pixels."""
    points = LANDMARKS * side
    skin, hair, iris = rng.uniform((190, 140, 110), (235, 190, 160)), rng.uniform(30, 110, 3), rng.uniform(40, 120, 3)
    forehead = np.stack([points[15:0:-1, 0], .45 * side - .85 * (points[15:0:-1, 1] - .45 * side)], 1)
    hair_outline = np.array([.5, .42]) * side + (np.concatenate([points[:17], forehead]) - [.5 * side, .42 * side]) * (
        1.18, 1.12)

    def sprite(outline: np.ndarray, colour: np.ndarray, contrast: float) -> Layer:
        return Layer(noise_texture(rng, (side, side), colour, contrast, side / 20),
                     polygon_mask((side, side), outline), np.eye(3))
    brows = [(name, sprite(_thick(points[list(PARTS[name])], side * .02), hair * .8, 8))
             for name in ("left brow", "right brow")]
    eyes = [(name, _with_iris(sprite(points[list(PARTS[name])], np.full(3, 235), 6), at * side, side, iris))
            for name, at in (("left eye", .36), ("right eye", .64))]
    nose = np.concatenate([points[27:28], points[31:36]])
    return [("head", sprite(hair_outline, hair, 16)),
            ("head", sprite(np.concatenate([points[:17], forehead]), skin, 7)), *brows, *eyes,
            ("nose", sprite(nose, skin * .88, 6)), ("mouth", sprite(points[48:60], np.array([185, 70, 80]), 8)),
            ("mouth", sprite(points[60:68], np.array([70, 20, 25]), 5))]


def _thick(line: np.ndarray, width: float) -> np.ndarray:
    """The outline of a line drawn `width` pixels wide, upwards."""
    return np.concatenate([line, line[::-1] - (0, width)])


def _with_iris(eye: Layer, x: float, side: int, colour: np.ndarray) -> Layer:
    middle = (int(x), int(.44 * side))
    texture = cv2.circle(eye.texture.copy(), middle, max(2, side // 36), colour.tolist(), -1)
    return Layer(cv2.circle(texture, middle, max(1, side // 80), (10, 10, 10), -1), eye.mask, eye.place)


def _shoulders(rng: np.random.Generator, size: tuple[int, int], side: int) -> Layer:
    outline = np.array([(-.7, 1), (-.6, .55), (-.15, .45), (-.15, .1), (.15, .1), (.15, .45), (.6, .55), (.7, 1)])
    mask = polygon_mask(size, outline * side + np.array(size) / 2)
    return Layer(noise_texture(rng, size, rng.uniform(40, 200, 3), 20, side / 10), mask, np.eye(3))
