"""Keypoint files -> arrays, in pixels. A file that does not hold what its format says is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.drawing import Points
from util.errors import UserError

MAX_COORDINATE = (
    2**14
)  # px; farther out than any film frame is wide: the file is broken, and its curves would fill the memory

MAX_KEYPOINT_FILE_BYTES = (
    2**23
)  # bytes of a frame's keypoints; a person of OpenPose takes about 4000
MAX_PEOPLE = 256

N_FACE_POINTS = 68
N_BODY_25_POINTS, N_COCO_18_POINTS, N_HAND_POINTS, N_FACE_70_POINTS = (
    25,
    18,
    21,
    70,
)  # OpenPose's numbers of points
COCO_18_TO_BODY_25 = (
    *range(8),
    *range(9, 19),
)  # where COCO-18 points stand in BODY_25, which has a middle hip as its 8th
MID_HIP_INDEX, HIP_INDICES = 8, (9, 12)
KEYPOINT_CONFIDENCE_THRESHOLD = 0.01  # confidence above which a point counts


@dataclass(frozen=True)
class Person:
    """OpenPose's points of one person, each (N, 3): x, y in pixels, confidence. All 0: not there.

    body: (25, 3) in BODY_25's order. left_hand, right_hand: (21, 3). face: (68, 3) in dlib's order.
    """

    body: Points
    left_hand: Points
    right_hand: Points
    face: Points

    @property
    def area(self) -> float:
        """Of the bounding box of the points seen, in square pixels."""
        points = np.concatenate([self.body, self.left_hand, self.right_hand, self.face])
        seen = points[points[:, 2] > KEYPOINT_CONFIDENCE_THRESHOLD, :2]
        return float(np.prod(np.ptp(seen, axis=0))) if len(seen) else 0.0


def read_face_points(path: Path) -> Points:
    """(68, 2) points of a face in dlib's order, from a text file of 68 lines `x,y`. Blank lines do not count."""
    lines = [line for line in read_keypoint_text(path).splitlines() if line.strip()]
    if len(lines) != N_FACE_POINTS:
        raise _face_points_error(path, f"{len(lines)} lines")
    points = np.array([_parse_face_point(path, line) for line in lines])
    check_coordinates(points, path)
    return points


def read_people(path: Path) -> list[Person]:
    """Everybody in an OpenPose JSON file, in its order. Bodies are BODY_25, or COCO-18 (18 points: the middle hip is
    put between the hips); hands and face (70 or 68 points) may be absent, their keys end in `_2d` or not."""
    try:
        found = json.loads(read_keypoint_text(path), parse_constant=float)
    except (ValueError, RecursionError) as fault:
        raise _openpose_error(path, f"no JSON ({type(fault).__name__})") from fault
    people = found.get("people") if isinstance(found, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise _openpose_error(path, "no list `people` of objects")
    if len(people) > MAX_PEOPLE:
        raise _openpose_error(path, f"{len(people)} people, more than {MAX_PEOPLE}")
    return [_parse_person(path, person) for person in people]


def _parse_person(path: Path, person: dict[str, object]) -> Person:
    body = _parse_points(path, person, "pose_keypoints", (N_BODY_25_POINTS, N_COCO_18_POINTS))
    return Person(
        body if len(body) == N_BODY_25_POINTS else _coco_18_to_body_25(body),
        _parse_points(path, person, "hand_left_keypoints", (N_HAND_POINTS,)),
        _parse_points(path, person, "hand_right_keypoints", (N_HAND_POINTS,)),
        _parse_points(path, person, "face_keypoints", (N_FACE_70_POINTS, N_FACE_POINTS))[
            :N_FACE_POINTS
        ],
    )


def _parse_points(
    path: Path, person: dict[str, object], key: str, counts: tuple[int, ...]
) -> Points:
    """(N, 3), N one of `counts`; zeros where the file has none."""
    numbers = person.get(f"{key}_2d", person.get(key))
    if numbers is None or numbers == []:
        return np.zeros((counts[0], 3))
    if not isinstance(numbers, list) or not all(type(n) in (int, float) for n in numbers):
        raise _openpose_error(path, f"{key} is no list of numbers")
    if len(numbers) not in (3 * count for count in counts):
        raise _openpose_error(
            path,
            f"{key} of {len(numbers)} numbers instead of "
            + " or ".join(str(3 * count) for count in counts),
        )
    try:
        points = np.array(numbers, np.float64).reshape(-1, 3)
    except OverflowError as fault:
        raise _openpose_error(path, f"{key} with a number beyond all images") from fault
    check_coordinates(points, path)
    return points


def _coco_18_to_body_25(coco: Points) -> Points:
    body = np.zeros((N_BODY_25_POINTS, 3))
    body[list(COCO_18_TO_BODY_25)] = coco
    hips = body[list(HIP_INDICES)]
    if (hips[:, 2] > KEYPOINT_CONFIDENCE_THRESHOLD).all():
        body[MID_HIP_INDEX] = *hips[:, :2].mean(axis=0), hips[:, 2].min()
    return body


def read_keypoint_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_KEYPOINT_FILE_BYTES:
            raise UserError(
                f"{path}: {path.stat().st_size} bytes, expected the keypoints of one frame: replace it"
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror}): replace it") from fault
    except UnicodeDecodeError as fault:
        raise UserError(
            f"{path}: holds no text: expected a file of keypoints, replace it"
        ) from fault


def check_coordinates(points: Points, path: Path) -> None:
    """Refuses coordinates (any shape) that are no pixels of any image."""
    far = points[~(np.abs(points) <= MAX_COORDINATE)]  # NaN too
    if far.size:
        raise UserError(
            f"{path}: a coordinate of {far[0]:g}; expected pixels, at most {MAX_COORDINATE} from the corner: "
            "detect that frame's keypoints again"
        )


def _parse_face_point(path: Path, line: str) -> list[float]:
    try:
        x, y = map(float, line.split(","))
    except ValueError as fault:
        raise _face_points_error(path, f"the line {line[:40]!r}") from fault
    return [x, y]


def _face_points_error(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: {reason}; expected 68 lines x,y: detect that frame's keypoints again or drop the frame"
    )


def _openpose_error(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: {reason}; expected an OpenPose JSON file, "
        "BODY_25 or COCO-18: detect that frame's pose again"
    )
