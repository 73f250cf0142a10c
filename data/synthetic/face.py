"""A drawn head that turns, blinks and talks, and its 68 landmarks in dlib's order (left is the image's left)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from data.synthetic.sprites import (
    Sprite,
    apply_affine,
    make_affine,
    make_full_mask,
    make_noise_texture,
    make_polygon_mask,
)

_LANDMARKS_BY_PART = {
    "head": range(17),
    "left brow": range(17, 22),
    "right brow": range(22, 27),
    "nose": range(27, 36),
    "left eye": range(36, 42),
    "right eye": range(42, 48),
    "mouth": range(48, 68),
}


def _make_neutral_landmarks() -> np.ndarray:
    """(68, 2) in [0, 1]², the head's own square."""

    def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: np.ndarray) -> np.ndarray:
        return np.stack(
            [cx + rx * np.cos(np.radians(degrees)), cy + ry * np.sin(np.radians(degrees))], 1
        )

    around = 180 + np.arange(0, 360, 60)
    corners = 180 + np.arange(0, 360, 30)
    return np.concatenate(
        [
            ellipse(0.5, 0.45, 0.30, 0.42, np.linspace(180, 0, 17)),
            *(ellipse(cx, 0.37, 0.09, 0.05, np.linspace(195, 345, 5)) for cx in (0.36, 0.64)),
            np.stack([np.full(4, 0.5), np.linspace(0.43, 0.57, 4)], 1),
            ellipse(0.5, 0.60, 0.07, 0.025, np.linspace(180, 0, 5)),
            *(ellipse(cx, 0.44, 0.065, 0.03, around) for cx in (0.36, 0.64)),
            ellipse(0.5, 0.73, 0.13, 0.05, corners),
            ellipse(0.5, 0.73, 0.08, 0.022, 180 + np.arange(0, 360, 45)),
        ]
    )


_NEUTRAL_LANDMARKS = _make_neutral_landmarks()
_HEAD_SIZE = 0.64  # of the image: the published crop, 2.5 faces wide, then lies within it


@dataclass(frozen=True)
class HeadPose:
    """How the head is held in a frame. turn: -1 (left) .. 1; degrees: tilt; open, shut: mouth and eyes, 0..1."""

    yaw: float
    roll_degrees: float
    mouth_opening: float
    eye_closure: float


def generate_face_scene(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[tuple[list[Sprite], np.ndarray]]:
    """The layers and the (68, 2) landmarks of `count` frames of size (W, H)."""
    side = int(_HEAD_SIZE * min(size))
    sprites = make_head_sprites(rng, side)
    behind = [
        Sprite(
            make_noise_texture(rng, size, rng.uniform(70, 190, 3), 25, side / 5),
            make_full_mask(size),
            np.eye(3),
        ),
        _make_shoulders(rng, size, side),
    ]
    phases = rng.uniform(0, 2 * np.pi, 3)
    for t in range(n_frames):
        places = compute_part_affines(
            _compute_head_pose(phases, t), side, (size[0] / 2, size[1] / 2)
        )
        yield behind + transform_sprites(sprites, places), transform_landmarks(places, side)


def _compute_head_pose(phases: np.ndarray, t: int) -> HeadPose:
    swing = np.sin(phases + np.array([0.25, 0.18, 0.7]) * t)
    return HeadPose(
        swing[0],
        6 * swing[1],
        0.5 + 0.5 * swing[2],
        float(np.exp(-(((t + 5 * phases[0]) % 17 - 8) ** 2) / 2)),
    )


def compute_part_affines(
    head_pose: HeadPose, side: float, center: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Each part's place on an image, for a head `side` pixels large whose middle lies at `centre`."""
    middle, x = side / 2, head_pose.yaw * side * 0.05
    head = make_affine(
        center[0] + x, center[1], degrees=head_pose.roll_degrees, pivot=(middle, middle)
    )
    features = head @ make_affine(
        head_pose.yaw * side * 0.03, 0
    )  # what stands out of the face turns further than its outline
    places = dict.fromkeys(_LANDMARKS_BY_PART, features) | {"head": head}
    for eye, at in (("left eye", 0.36), ("right eye", 0.64)):
        pivot = (at * side, 0.44 * side)
        places[eye] = features @ make_affine(
            *pivot, scale=(1, 1 - 0.85 * head_pose.eye_closure), pivot=pivot
        )
    lip = (middle, 0.69 * side)
    places["mouth"] = features @ make_affine(
        *lip,
        scale=(1 - 0.15 * head_pose.mouth_opening, 0.6 + 0.9 * head_pose.mouth_opening),
        pivot=lip,
    )
    return places


def transform_landmarks(part_affines: dict[str, np.ndarray], side: float) -> np.ndarray:
    """(68, 2) image points."""
    return np.concatenate(
        [
            apply_affine(part_affines[name], _NEUTRAL_LANDMARKS[list(part)] * side)
            for name, part in _LANDMARKS_BY_PART.items()
        ]
    )


def transform_sprites(
    sprites: list[tuple[str, Sprite]], part_affines: dict[str, np.ndarray]
) -> list[Sprite]:
    return [
        Sprite(sprite.texture, sprite.mask, part_affines[part], sprite.label)
        for part, sprite in sprites
    ]


def make_head_sprites(rng: np.random.Generator, side: int) -> list[tuple[str, Sprite]]:
    """(part that carries it, sprite), from back to front; each on a square of `side` pixels."""
    points = _NEUTRAL_LANDMARKS * side
    skin, hair, iris = (
        rng.uniform((190, 140, 110), (235, 190, 160)),
        rng.uniform(30, 110, 3),
        rng.uniform(40, 120, 3),
    )
    forehead = np.stack(
        [points[15:0:-1, 0], 0.45 * side - 0.85 * (points[15:0:-1, 1] - 0.45 * side)], 1
    )
    hair_outline = np.array([0.5, 0.42]) * side + (
        np.concatenate([points[:17], forehead]) - [0.5 * side, 0.42 * side]
    ) * (1.18, 1.12)

    def sprite(outline: np.ndarray, colour: np.ndarray, contrast: float) -> Sprite:
        return Sprite(
            make_noise_texture(rng, (side, side), colour, contrast, side / 20),
            make_polygon_mask((side, side), outline),
            np.eye(3),
        )

    brows = [
        (
            name,
            sprite(
                _thicken_line(points[list(_LANDMARKS_BY_PART[name])], side * 0.02), hair * 0.8, 8
            ),
        )
        for name in ("left brow", "right brow")
    ]
    eyes = [
        (
            name,
            _add_iris(
                sprite(points[list(_LANDMARKS_BY_PART[name])], np.full(3, 235), 6),
                at * side,
                side,
                iris,
            ),
        )
        for name, at in (("left eye", 0.36), ("right eye", 0.64))
    ]
    nose = np.concatenate([points[27:28], points[31:36]])
    return [
        ("head", sprite(hair_outline, hair, 16)),
        ("head", sprite(np.concatenate([points[:17], forehead]), skin, 7)),
        *brows,
        *eyes,
        ("nose", sprite(nose, skin * 0.88, 6)),
        ("mouth", sprite(points[48:60], np.array([185, 70, 80]), 8)),
        ("mouth", sprite(points[60:68], np.array([70, 20, 25]), 5)),
    ]


def _thicken_line(line: np.ndarray, width: float) -> np.ndarray:
    """The outline of a line drawn `width` pixels wide, upwards."""
    return np.concatenate([line, line[::-1] - (0, width)])


def _add_iris(eye: Sprite, x: float, side: int, color: np.ndarray) -> Sprite:
    middle = (int(x), int(0.44 * side))
    texture = cv2.circle(eye.texture.copy(), middle, max(2, side // 36), color.tolist(), -1)
    return Sprite(
        cv2.circle(texture, middle, max(1, side // 80), (10, 10, 10), -1), eye.mask, eye.affine
    )


def _make_shoulders(rng: np.random.Generator, size: tuple[int, int], side: int) -> Sprite:
    outline = np.array(
        [
            (-0.7, 1),
            (-0.6, 0.55),
            (-0.15, 0.45),
            (-0.15, 0.1),
            (0.15, 0.1),
            (0.15, 0.45),
            (0.6, 0.55),
            (0.7, 1),
        ]
    )
    mask = make_polygon_mask(size, outline * side + np.array(size) / 2)
    return Sprite(
        make_noise_texture(rng, size, rng.uniform(40, 200, 3), 20, side / 10), mask, np.eye(3)
    )
