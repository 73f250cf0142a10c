"""A jointed figure that dances on the spot: its OpenPose points (BODY_25, hands, face) and its DensePose map.

Lengths are in units of the image's height. Right is the figure's own, who faces us: the image's left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from data.synthetic.face import (
    HeadPose,
    compute_part_affines,
    make_head_sprites,
    transform_landmarks,
    transform_sprites,
)
from data.synthetic.sprites import (
    Sprite,
    compute_sprite_coordinates,
    gather_per_pixel,
    make_affine,
    make_full_mask,
    make_noise_texture,
)

# (OpenPose points it spans, DensePose part id, length, width, cloth), from back to front
_LIMBS = (
    ((9, 10), 7, 0.19, 0.075, "trousers"),
    ((10, 11), 11, 0.18, 0.06, "trousers"),
    ((11, 22), 6, 0.06, 0.04, "shoes"),
    ((12, 13), 8, 0.19, 0.075, "trousers"),
    ((13, 14), 12, 0.18, 0.06, "trousers"),
    ((14, 19), 5, 0.06, 0.04, "shoes"),
    ((1, 8), 2, 0.27, 0.17, "shirt"),
    ((2, 3), 16, 0.14, 0.055, "shirt"),
    ((3, 4), 20, 0.13, 0.045, "skin"),
    ((4, -1), 3, 0.04, 0.045, "skin"),
    ((5, 6), 15, 0.14, 0.055, "shirt"),
    ((6, 7), 19, 0.13, 0.045, "skin"),
    ((7, -1), 4, 0.04, 0.045, "skin"),
)
_HEAD_PART_IDS = (23, 24)  # its right and left half
_HEAD_SIZE = 0.22
_KEYPOINT_CONFIDENCE = 0.9


@dataclass(frozen=True)
class PoseFrame:
    """body: (25, 2), hands: two of (21, 2), face: (70, 2), all points on the image; layers: background first;
    labels: DensePose part id of each layer, 0 for the background."""

    body: np.ndarray
    hands: tuple[np.ndarray, np.ndarray]
    face: np.ndarray
    sprites: list[Sprite]
    part_ids: list[int]

    def to_openpose_json(self) -> str:
        """The JSON that OpenPose writes: x, y, confidence of each point, one after another."""

        def listed(points: np.ndarray) -> list[float]:
            return (
                np.column_stack([points, np.full(len(points), _KEYPOINT_CONFIDENCE)])
                .round(3)
                .ravel()
                .tolist()
            )

        person = {
            "pose_keypoints_2d": listed(self.body),
            "face_keypoints_2d": listed(self.face),
            "hand_right_keypoints_2d": listed(self.hands[0]),
            "hand_left_keypoints_2d": listed(self.hands[1]),
        }
        return json.dumps({"version": 1.3, "people": [person]})

    def render_densepose(self, sprite_index: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8: U, V and part id, black where nobody is."""
        part = gather_per_pixel(self.part_ids, sprite_index)
        u, v = np.rint(compute_sprite_coordinates(self.sprites, sprite_index) * 255)
        return np.where(part[..., None] > 0, np.dstack([u, v, part]), 0).astype(np.uint8)


def generate_pose_scene(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[PoseFrame]:
    """`count` frames of size (W, H)."""
    height = size[1]
    cloths = {
        "trousers": rng.uniform(30, 90, 3),
        "shirt": rng.uniform(60, 220, 3),
        "shoes": rng.uniform(20, 60, 3),
        "skin": rng.uniform((190, 140, 110), (235, 190, 160)),
    }
    limbs = [
        _make_limb(rng, length * height, wide * height, cloths[cloth])
        for _, _, length, wide, cloth in _LIMBS
    ]
    head, room = make_head_sprites(rng, int(_HEAD_SIZE * height)), _make_room(rng, size)
    phase = rng.uniform(0, 2 * np.pi)
    for t in range(n_frames):
        yield _make_pose_frame(
            _compute_joints(phase + 0.3 * t, size), limbs, head, room, np.sin(phase + 0.3 * t)
        )


def _make_pose_frame(
    body: np.ndarray,
    limbs: list[Sprite],
    head: list[tuple[str, Sprite]],
    background: Sprite,
    swing: float,
) -> PoseFrame:
    side = head[0][1].mask.shape[0]
    places = compute_part_affines(
        HeadPose(swing, 5 * swing, 0.5 + 0.5 * swing, 0),
        side,
        (body[0, 0], body[0, 1] - 0.02 * side),
    )
    face = transform_landmarks(places, side)
    pupils = np.stack([face[36:42].mean(0), face[42:48].mean(0)])
    tips = {4: _compute_hand_center(body[3], body[4]), 7: _compute_hand_center(body[6], body[7])}
    spans = [(body[a], tips[a] if b < 0 else body[b]) for (a, b), *_ in _LIMBS]
    layers = [background] + [
        _stretch_limb(limb, a, b) for limb, (a, b) in zip(limbs, spans, strict=True)
    ]
    labels = [0] + [part for _, part, *_ in _LIMBS]
    layers += transform_sprites(_split_left_right(head), places)
    labels += list(_HEAD_PART_IDS) * len(head)
    hands = (_make_hand_keypoints(body[4], tips[4]), _make_hand_keypoints(body[7], tips[7]))
    return PoseFrame(
        _fill_head_keypoints(body, face, side),
        hands,
        np.concatenate([face, pupils]),
        layers,
        labels,
    )


def _compute_joints(phase: float, size: tuple[int, int]) -> np.ndarray:
    """(25, 2): the figure by forward kinematics; head points are filled in later, from the face."""
    width, height = size
    swing = np.sin(phase)
    body = np.zeros((25, 2))
    body[8] = width / 2 + 0.02 * height * swing, height * (0.53 + 0.01 * np.cos(2 * phase))
    body[1] = _offset_point(body[8], 0.27 * height, 180 + 4 * swing)
    body[0] = _offset_point(body[1], 0.12 * height, 180 + 6 * swing)
    for hip, shoulder, out in (
        (9, 2, 1),
        (12, 5, -1),
    ):  # the image's left is where the figure's right limbs go
        bend = out * swing
        body[shoulder] = body[1] + (-out * 0.085 * height, 0.02 * height)
        body[shoulder + 1] = _offset_point(body[shoulder], 0.14 * height, out * (25 + 20 * bend))
        body[shoulder + 2] = _offset_point(
            body[shoulder + 1], 0.13 * height, out * (35 + 40 * bend)
        )
        body[hip] = body[8] + (-out * 0.045 * height, 0)
        body[hip + 1] = _offset_point(body[hip], 0.19 * height, out * (10 + 8 * bend))
        body[hip + 2] = _offset_point(body[hip + 1], 0.18 * height, out * (4 - 6 * bend))
    for ankle, toe, small_toe, heel, out in ((11, 22, 23, 24, 1), (14, 19, 20, 21, -1)):
        body[toe] = _offset_point(body[ankle], 0.06 * height, out * 45)
        body[small_toe] = _offset_point(body[ankle], 0.06 * height, out * 65)
        body[heel] = _offset_point(body[ankle], 0.02 * height, 0)
    return body


def _offset_point(start: np.ndarray, length: float, degrees: float) -> np.ndarray:
    """The point `length` away; 0 degrees is down, 90 the image's left."""
    return start + length * np.array([-np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])


def _compute_hand_center(elbow: np.ndarray, wrist: np.ndarray) -> np.ndarray:
    """The middle of a hand that goes on where the forearm ends."""
    return wrist + 0.3 * (wrist - elbow)


def _make_hand_keypoints(wrist: np.ndarray, center: np.ndarray) -> np.ndarray:
    """(21, 2): the wrist, then five fingers of four points, fanned out."""
    along = (center - wrist) * 1.8
    turned = np.radians(np.linspace(-40, 40, 5))
    fan = np.stack(
        [
            np.cos(turned) * along[0] - np.sin(turned) * along[1],
            np.sin(turned) * along[0] + np.cos(turned) * along[1],
        ],
        1,
    )
    return np.concatenate(
        [wrist[None], *(wrist + np.linspace(0.4, 1, 4)[:, None] * finger for finger in fan)]
    )


def _fill_head_keypoints(body: np.ndarray, face: np.ndarray, side: float) -> np.ndarray:
    """Nose, eyes and ears where the drawn face has them."""
    body = body.copy()
    body[0], body[15], body[16] = face[30], face[36:42].mean(0), face[42:48].mean(0)
    body[17], body[18] = face[0] - (0.02 * side, 0), face[16] + (0.02 * side, 0)
    return body


def _make_limb(rng: np.random.Generator, length: float, width: float, color: np.ndarray) -> Sprite:
    """A capsule, upright: its first joint at (radius, radius), the other `length` below."""
    radius = max(2, round(width / 2))
    size = (2 * radius + 1, round(length) + 2 * radius + 1)
    mask = cv2.line(
        np.zeros(size[::-1], np.uint8),
        (radius, radius),
        (radius, size[1] - 1 - radius),
        255,
        2 * radius,
    )
    return Sprite(make_noise_texture(rng, size, color, 14, max(2, radius)), mask, np.eye(3))


def _stretch_limb(limb: Sprite, start: np.ndarray, end: np.ndarray) -> Sprite:
    radius = limb.mask.shape[1] // 2
    x, y = end - start
    stretch = np.hypot(x, y) / (limb.mask.shape[0] - 1 - 2 * radius)
    place = make_affine(
        *start,
        scale=(1, stretch),
        degrees=float(np.degrees(np.arctan2(-x, y))),
        pivot=(radius, radius),
    )
    return Sprite(limb.texture, limb.mask, place)


def _split_left_right(head: list[tuple[str, Sprite]]) -> list[tuple[str, Sprite]]:
    """Each sprite as two: what lies left of the head's middle, and the rest."""
    side = head[0][1].mask.shape[0]
    left = np.indices((side, side))[1] < side // 2
    return [
        (
            part,
            Sprite(sprite.texture, np.where(half, sprite.mask, 0).astype(np.uint8), sprite.affine),
        )
        for part, sprite in head
        for half in (left, ~left)
    ]


def _make_room(rng: np.random.Generator, size: tuple[int, int]) -> Sprite:
    width, height = size
    texture = make_noise_texture(rng, size, (150, 160, 165), 14, height / 8)
    floor = int(0.85 * height)
    texture[floor:] = make_noise_texture(
        rng, (width, height - floor), (120, 90, 70), 10, height / 20
    )
    return Sprite(texture, make_full_mask(size), np.eye(3))
