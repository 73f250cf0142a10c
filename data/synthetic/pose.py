"""A jointed figure that dances on the spot, with its OpenPose keypoints and DensePose map.

The keypoints are BODY_25, hands and face. Lengths are in units of the image's height.
Left and right are those of the figure, which faces the camera: its right is the image's left.
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

# (BODY_25 points at its ends, DensePose part id, length, width, material), from back to front; -1: center of the hand
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
_HEAD_PART_IDS = (23, 24)  # DensePose: right and left half of the head
_HEAD_SIZE = 0.22
_KEYPOINT_CONFIDENCE = 0.9


@dataclass(frozen=True)
class PoseFrame:
    """The figure in one frame. All points are (x, y) in pixels of the image.

    Attributes:
        body: (25, 2).
        hands: Right and left, (21, 2) each.
        face: (70, 2).
        sprites: The background, then the figure from back to front.
        part_ids: DensePose part id of each sprite, 0 for the background.
    """

    body: np.ndarray
    hands: tuple[np.ndarray, np.ndarray]
    face: np.ndarray
    sprites: list[Sprite]
    part_ids: list[int]

    def to_openpose_json(self) -> str:
        """Format the keypoints as OpenPose does: x, y, confidence of one point after another."""
        person = {
            "pose_keypoints_2d": _flatten_keypoints(self.body),
            "face_keypoints_2d": _flatten_keypoints(self.face),
            "hand_right_keypoints_2d": _flatten_keypoints(self.hands[0]),
            "hand_left_keypoints_2d": _flatten_keypoints(self.hands[1]),
        }
        return json.dumps({"version": 1.3, "people": [person]})

    def render_densepose(self, sprite_index: np.ndarray) -> np.ndarray:
        """Render U, V and part id, (H, W, 3) uint8; black on the background."""
        part = gather_per_pixel(self.part_ids, sprite_index)
        u, v = np.rint(compute_sprite_coordinates(self.sprites, sprite_index) * 255)
        return np.where(part[..., None] > 0, np.dstack([u, v, part]), 0).astype(np.uint8)


def _flatten_keypoints(points: np.ndarray) -> list[float]:
    confidence = np.full(len(points), _KEYPOINT_CONFIDENCE)
    return np.column_stack([points, confidence]).round(3).ravel().tolist()


def generate_pose_scene(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[PoseFrame]:
    """Yield the figure in each frame; size is (W, H)."""
    height = size[1]
    colors = {
        "trousers": rng.uniform(30, 90, 3),
        "shirt": rng.uniform(60, 220, 3),
        "shoes": rng.uniform(20, 60, 3),
        "skin": rng.uniform((190, 140, 110), (235, 190, 160)),
    }
    limbs = [
        _make_limb(rng, length * height, width * height, colors[material])
        for _, _, length, width, material in _LIMBS
    ]
    head = make_head_sprites(rng, int(_HEAD_SIZE * height))
    background = _make_room(rng, size)
    start_phase = rng.uniform(0, 2 * np.pi)
    for t in range(n_frames):
        phase = start_phase + 0.3 * t
        yield _make_pose_frame(_compute_joints(phase, size), limbs, head, background, np.sin(phase))


def _make_pose_frame(
    body: np.ndarray,
    limbs: list[Sprite],
    head: list[tuple[str, Sprite]],
    background: Sprite,
    swing: float,
) -> PoseFrame:
    head_side = head[0][1].mask.shape[0]
    head_pose = HeadPose(swing, 5 * swing, 0.5 + 0.5 * swing, 0)
    head_center = (body[0, 0], body[0, 1] - 0.02 * head_side)
    head_affines = compute_part_affines(head_pose, head_side, head_center)
    landmarks = transform_landmarks(head_affines, head_side)
    pupils = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    # by wrist
    hand_centers = {
        4: _compute_hand_center(body[3], body[4]),
        7: _compute_hand_center(body[6], body[7]),
    }
    sprites = [background]
    part_ids = [0]
    for limb, ((start, end), part_id, *_) in zip(limbs, _LIMBS, strict=True):
        end_point = hand_centers[start] if end < 0 else body[end]
        sprites.append(_stretch_limb(limb, body[start], end_point))
        part_ids.append(part_id)
    sprites += transform_sprites(_split_left_right(head), head_affines)
    part_ids += list(_HEAD_PART_IDS) * len(head)
    return PoseFrame(
        body=_fill_head_keypoints(body, landmarks, head_side),
        hands=(
            _make_hand_keypoints(body[4], hand_centers[4]),
            _make_hand_keypoints(body[7], hand_centers[7]),
        ),
        face=np.concatenate([landmarks, pupils]),
        sprites=sprites,
        part_ids=part_ids,
    )


def _compute_joints(phase: float, size: tuple[int, int]) -> np.ndarray:
    """Compute BODY_25 points (25, 2) by forward kinematics, without those of the head."""
    width, height = size
    swing = np.sin(phase)
    body = np.zeros((25, 2))
    body[8] = width / 2 + 0.02 * height * swing, height * (0.53 + 0.01 * np.cos(2 * phase))
    body[1] = _offset_point(body[8], 0.27 * height, 180 + 4 * swing)
    body[0] = _offset_point(body[1], 0.12 * height, 180 + 6 * swing)
    # outward: 1 for the right limbs, which extend to the image's left; -1 for the left ones
    for hip, shoulder, outward in ((9, 2, 1), (12, 5, -1)):
        knee, ankle = hip + 1, hip + 2
        elbow, wrist = shoulder + 1, shoulder + 2
        bend = outward * swing
        body[shoulder] = body[1] + (-outward * 0.085 * height, 0.02 * height)
        body[elbow] = _offset_point(body[shoulder], 0.14 * height, outward * (25 + 20 * bend))
        body[wrist] = _offset_point(body[elbow], 0.13 * height, outward * (35 + 40 * bend))
        body[hip] = body[8] + (-outward * 0.045 * height, 0)
        body[knee] = _offset_point(body[hip], 0.19 * height, outward * (10 + 8 * bend))
        body[ankle] = _offset_point(body[knee], 0.18 * height, outward * (4 - 6 * bend))
    for ankle, toe, small_toe, heel, outward in ((11, 22, 23, 24, 1), (14, 19, 20, 21, -1)):
        body[toe] = _offset_point(body[ankle], 0.06 * height, outward * 45)
        body[small_toe] = _offset_point(body[ankle], 0.06 * height, outward * 65)
        body[heel] = _offset_point(body[ankle], 0.02 * height, 0)
    return body


def _offset_point(start: np.ndarray, length: float, degrees: float) -> np.ndarray:
    """Return the point at a distance and an angle: 0 degrees is down, 90 the image's left."""
    return start + length * np.array([-np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])


def _compute_hand_center(elbow: np.ndarray, wrist: np.ndarray) -> np.ndarray:
    """Extend the forearm by the length of half a hand."""
    return wrist + 0.3 * (wrist - elbow)


def _make_hand_keypoints(wrist: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return the wrist and five fanned out fingers of four points each, (21, 2)."""
    direction = (center - wrist) * 1.8
    angles = np.radians(np.linspace(-40, 40, 5))
    fingers = np.stack(
        [
            np.cos(angles) * direction[0] - np.sin(angles) * direction[1],
            np.sin(angles) * direction[0] + np.cos(angles) * direction[1],
        ],
        1,
    )
    distances = np.linspace(0.4, 1, 4)[:, None]
    return np.concatenate([wrist[None], *(wrist + distances * finger for finger in fingers)])


def _fill_head_keypoints(body: np.ndarray, landmarks: np.ndarray, head_side: float) -> np.ndarray:
    """Set nose, eyes and ears to their positions on the drawn face."""
    body = body.copy()
    body[0] = landmarks[30]
    body[15] = landmarks[36:42].mean(0)
    body[16] = landmarks[42:48].mean(0)
    body[17] = landmarks[0] - (0.02 * head_side, 0)
    body[18] = landmarks[16] + (0.02 * head_side, 0)
    return body


def _make_limb(rng: np.random.Generator, length: float, width: float, color: np.ndarray) -> Sprite:
    """Make an upright capsule: one joint at (radius, radius), the other `length` below."""
    radius = max(2, round(width / 2))
    size = (2 * radius + 1, round(length) + 2 * radius + 1)
    mask = np.zeros(size[::-1], np.uint8)
    mask = cv2.line(mask, (radius, radius), (radius, size[1] - 1 - radius), 255, 2 * radius)
    texture = make_noise_texture(rng, size, color, 14, max(2, radius))
    return Sprite(texture, mask, np.eye(3))


def _stretch_limb(limb: Sprite, start: np.ndarray, end: np.ndarray) -> Sprite:
    radius = limb.mask.shape[1] // 2
    x, y = end - start
    stretch = np.hypot(x, y) / (limb.mask.shape[0] - 1 - 2 * radius)
    affine = make_affine(
        *start,
        scale=(1, stretch),
        degrees=float(np.degrees(np.arctan2(-x, y))),
        pivot=(radius, radius),
    )
    return Sprite(limb.texture, limb.mask, affine)


def _split_left_right(head: list[tuple[str, Sprite]]) -> list[tuple[str, Sprite]]:
    """Split each sprite at the middle of the head into two."""
    side = head[0][1].mask.shape[0]
    is_left = np.indices((side, side))[1] < side // 2
    halves = []
    for part, sprite in head:
        for half in (is_left, ~is_left):
            mask = np.where(half, sprite.mask, 0).astype(np.uint8)
            halves.append((part, Sprite(sprite.texture, mask, sprite.affine)))
    return halves


def _make_room(rng: np.random.Generator, size: tuple[int, int]) -> Sprite:
    width, height = size
    texture = make_noise_texture(rng, size, (150, 160, 165), 14, height / 8)
    floor_y = int(0.85 * height)
    floor_size = (width, height - floor_y)
    texture[floor_y:] = make_noise_texture(rng, floor_size, (120, 90, 70), 10, height / 20)
    return Sprite(texture, make_full_mask(size), np.eye(3))
