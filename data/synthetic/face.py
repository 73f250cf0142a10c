"""A drawn head that turns, blinks and talks, and its 68 landmarks in dlib's order.

Left and right are those of the image.
"""

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
_EYE_X = {"left eye": 0.36, "right eye": 0.64}  # centers, in units of the head's square
_EYE_Y = 0.44
_HEAD_SIZE = 0.64  # of the image: the published crop, 2.5 faces wide, then fits into it


def _make_ellipse(cx: float, cy: float, rx: float, ry: float, degrees: np.ndarray) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([cx + rx * np.cos(radians), cy + ry * np.sin(radians)], 1)


def _make_neutral_landmarks() -> np.ndarray:
    """Return the landmarks of a frontal face, (68, 2) in the unit square of the head."""
    eye_angles = 180 + np.arange(0, 360, 60)
    brow_angles = np.linspace(195, 345, 5)
    return np.concatenate(
        [
            _make_ellipse(0.5, 0.45, 0.30, 0.42, np.linspace(180, 0, 17)),
            *(_make_ellipse(cx, 0.37, 0.09, 0.05, brow_angles) for cx in _EYE_X.values()),
            np.stack([np.full(4, 0.5), np.linspace(0.43, 0.57, 4)], 1),  # bridge of the nose
            _make_ellipse(0.5, 0.60, 0.07, 0.025, np.linspace(180, 0, 5)),  # nostrils
            *(_make_ellipse(cx, _EYE_Y, 0.065, 0.03, eye_angles) for cx in _EYE_X.values()),
            _make_ellipse(0.5, 0.73, 0.13, 0.05, 180 + np.arange(0, 360, 30)),  # outer lips
            _make_ellipse(0.5, 0.73, 0.08, 0.022, 180 + np.arange(0, 360, 45)),  # inner lips
        ]
    )


_NEUTRAL_LANDMARKS = _make_neutral_landmarks()


@dataclass(frozen=True)
class HeadPose:
    """Pose and expression of the head in a frame.

    Attributes:
        yaw: -1 (left) .. 1 (right).
        roll_degrees: Clockwise on screen.
        mouth_opening: 0..1.
        eye_closure: 0..1.
    """

    yaw: float
    roll_degrees: float
    mouth_opening: float
    eye_closure: float


def generate_face_scene(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[tuple[list[Sprite], np.ndarray]]:
    """Yield the sprites and the landmarks, (68, 2), of each frame; size is (W, H)."""
    side = int(_HEAD_SIZE * min(size))
    head_sprites = make_head_sprites(rng, side)
    background_texture = make_noise_texture(rng, size, rng.uniform(70, 190, 3), 25, side / 5)
    background = Sprite(background_texture, make_full_mask(size), np.eye(3))
    shoulders = _make_shoulders(rng, size, side)
    motion_phases = rng.uniform(0, 2 * np.pi, 3)
    for t in range(n_frames):
        head_pose = _compute_head_pose(motion_phases, t)
        part_affines = compute_part_affines(head_pose, side, (size[0] / 2, size[1] / 2))
        sprites = [background, shoulders, *transform_sprites(head_sprites, part_affines)]
        yield sprites, transform_landmarks(part_affines, side)


def _compute_head_pose(motion_phases: np.ndarray, t: int) -> HeadPose:
    yaw, roll, mouth = np.sin(motion_phases + np.array([0.25, 0.18, 0.7]) * t)
    frames_from_blink = (t + 5 * motion_phases[0]) % 17 - 8  # a blink every 17 frames
    return HeadPose(
        yaw=yaw,
        roll_degrees=6 * roll,
        mouth_opening=0.5 + 0.5 * mouth,
        eye_closure=float(np.exp(-(frames_from_blink**2) / 2)),
    )


def compute_part_affines(
    head_pose: HeadPose, side: float, center: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Compute the affine of each part of the face, for a head of `side` pixels centered at `center`."""
    middle = side / 2
    head_x = center[0] + head_pose.yaw * side * 0.05
    head = make_affine(head_x, center[1], degrees=head_pose.roll_degrees, pivot=(middle, middle))
    # parallax: the features move further than the outline of the head
    features = head @ make_affine(head_pose.yaw * side * 0.03, 0)
    affines = dict.fromkeys(_LANDMARKS_BY_PART, features) | {"head": head}
    for eye, eye_x in _EYE_X.items():
        pivot = (eye_x * side, _EYE_Y * side)
        eye_scale = (1, 1 - 0.85 * head_pose.eye_closure)
        affines[eye] = features @ make_affine(*pivot, scale=eye_scale, pivot=pivot)
    upper_lip = (middle, 0.69 * side)
    mouth_scale = (1 - 0.15 * head_pose.mouth_opening, 0.6 + 0.9 * head_pose.mouth_opening)
    affines["mouth"] = features @ make_affine(*upper_lip, scale=mouth_scale, pivot=upper_lip)
    return affines


def transform_landmarks(part_affines: dict[str, np.ndarray], side: float) -> np.ndarray:
    """Map the landmarks of a head of `side` pixels to image points, (68, 2)."""
    return np.concatenate(
        [
            apply_affine(part_affines[part], _NEUTRAL_LANDMARKS[list(indices)] * side)
            for part, indices in _LANDMARKS_BY_PART.items()
        ]
    )


def transform_sprites(
    sprites: list[tuple[str, Sprite]], part_affines: dict[str, np.ndarray]
) -> list[Sprite]:
    """Give each (part, sprite) the affine of its part."""
    return [
        Sprite(sprite.texture, sprite.mask, part_affines[part], sprite.label)
        for part, sprite in sprites
    ]


def make_head_sprites(rng: np.random.Generator, side: int) -> list[tuple[str, Sprite]]:
    """Make the sprites of a head, each on a square of `side` pixels.

    Returns:
        (part that it moves with, sprite), from back to front.
    """
    points = _NEUTRAL_LANDMARKS * side
    skin_color = rng.uniform((190, 140, 110), (235, 190, 160))
    hair_color = rng.uniform(30, 110, 3)
    iris_color = rng.uniform(40, 120, 3)
    jaw = points[:17]
    forehead = np.stack(
        [points[15:0:-1, 0], 0.45 * side - 0.85 * (points[15:0:-1, 1] - 0.45 * side)], 1
    )
    head_outline = np.concatenate([jaw, forehead])
    hair_center = np.array([0.5, 0.42]) * side
    hair_outline = hair_center + (head_outline - [0.5 * side, 0.42 * side]) * (1.18, 1.12)
    nose_outline = np.concatenate([points[27:28], points[31:36]])

    def make_sprite(outline: np.ndarray, color: np.ndarray, contrast: float) -> Sprite:
        texture = make_noise_texture(rng, (side, side), color, contrast, side / 20)
        return Sprite(texture, make_polygon_mask((side, side), outline), np.eye(3))

    # The order of the calls fixes the random numbers of each texture: brows and eyes come first.
    brows = []
    for part in ("left brow", "right brow"):
        outline = _thicken_line(points[list(_LANDMARKS_BY_PART[part])], side * 0.02)
        brows.append((part, make_sprite(outline, hair_color * 0.8, 8)))
    eyes = []
    for part, eye_x in _EYE_X.items():
        eye_white = make_sprite(points[list(_LANDMARKS_BY_PART[part])], np.full(3, 235), 6)
        eyes.append((part, _add_iris(eye_white, eye_x * side, side, iris_color)))
    return [
        ("head", make_sprite(hair_outline, hair_color, 16)),
        ("head", make_sprite(head_outline, skin_color, 7)),
        *brows,
        *eyes,
        ("nose", make_sprite(nose_outline, skin_color * 0.88, 6)),
        ("mouth", make_sprite(points[48:60], np.array([185, 70, 80]), 8)),
        ("mouth", make_sprite(points[60:68], np.array([70, 20, 25]), 5)),
    ]


def _thicken_line(line: np.ndarray, width: float) -> np.ndarray:
    """Return the outline of a line that is `width` pixels thick, upwards."""
    return np.concatenate([line, line[::-1] - (0, width)])


def _add_iris(eye: Sprite, x: float, side: int, color: np.ndarray) -> Sprite:
    center = (int(x), int(_EYE_Y * side))
    texture = cv2.circle(eye.texture.copy(), center, max(2, side // 36), color.tolist(), -1)
    texture = cv2.circle(texture, center, max(1, side // 80), (10, 10, 10), -1)  # pupil
    return Sprite(texture, eye.mask, eye.affine)


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
    texture = make_noise_texture(rng, size, rng.uniform(40, 200, 3), 20, side / 10)
    return Sprite(texture, mask, np.eye(3))
