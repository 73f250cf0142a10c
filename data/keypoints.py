"""Read keypoint files (face landmarks as text, OpenPose JSON) into arrays of pixel coordinates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.drawing import Points
from util.errors import UserError

# px. No image is this wide: a larger coordinate means a broken file, and its curve would fill memory.
MAX_COORDINATE = 2**14
# Of the keypoints of one frame; OpenPose writes about 4000 bytes per person.
MAX_KEYPOINT_FILE_BYTES = 2**23
MAX_PEOPLE = 256

N_FACE_POINTS = 68
# Numbers of points in OpenPose files.
N_BODY_25_POINTS, N_COCO_18_POINTS, N_HAND_POINTS, N_FACE_70_POINTS = 25, 18, 21, 70
# Index in BODY_25 of each COCO-18 point. BODY_25 has the middle hip, which COCO-18 lacks, as point 8.
COCO_18_TO_BODY_25 = (*range(8), *range(9, 19))
MID_HIP_INDEX, HIP_INDICES = 8, (9, 12)
KEYPOINT_CONFIDENCE_THRESHOLD = 0.01  # a point of higher confidence is detected


@dataclass(frozen=True)
class Person:
    """OpenPose's points of one person; each array is (N, 3): x, y in pixels, confidence.

    Points that were not detected are all 0.

    Attributes:
        body: (25, 3) in BODY_25's order.
        left_hand: (21, 3).
        right_hand: (21, 3).
        face: (68, 3) in dlib's order.
    """

    body: Points
    left_hand: Points
    right_hand: Points
    face: Points

    @property
    def area(self) -> float:
        """Area of the bounding box of all detected points, in square pixels."""
        points = np.concatenate([self.body, self.left_hand, self.right_hand, self.face])
        detected = points[points[:, 2] > KEYPOINT_CONFIDENCE_THRESHOLD, :2]
        return float(np.prod(np.ptp(detected, axis=0))) if len(detected) else 0.0


def read_face_points(path: Path) -> Points:
    """Read the (68, 2) points of a face, in dlib's order, from a text file of 68 lines `x,y`.

    Blank lines are skipped.

    Raises:
        UserError: the file cannot be read or has another format.
    """
    lines = [line for line in read_keypoint_text(path).splitlines() if line.strip()]
    if len(lines) != N_FACE_POINTS:
        raise _face_points_error(path, f"{len(lines)} lines")
    points = np.array([_parse_face_point(path, line) for line in lines])
    check_coordinates(points, path)
    return points


def read_people(path: Path) -> list[Person]:
    """Read all people of an OpenPose JSON file, in its order.

    Bodies are BODY_25 or COCO-18. For the latter the middle hip is set between the hips. Hands and
    face (70 or 68 points) may be absent. Keys may end in `_2d` or not.

    Raises:
        UserError: the file cannot be read or has another format.
    """
    try:
        content = json.loads(read_keypoint_text(path), parse_constant=float)
    except (ValueError, RecursionError) as error:
        raise _openpose_error(path, f"no JSON ({type(error).__name__})") from error
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise _openpose_error(path, "no list `people` of objects")
    if len(people) > MAX_PEOPLE:
        raise _openpose_error(path, f"{len(people)} people, more than {MAX_PEOPLE}")
    return [_parse_person(path, person) for person in people]


def read_keypoint_text(path: Path) -> str:
    """Read a UTF-8 text file of at most `MAX_KEYPOINT_FILE_BYTES`; UserError otherwise."""
    try:
        n_bytes = path.stat().st_size
        if n_bytes > MAX_KEYPOINT_FILE_BYTES:
            raise UserError(
                f"{path}: {n_bytes} bytes, expected the keypoints of one frame: replace it"
            )
        return path.read_text(encoding="utf-8-sig")  # accepts a byte order mark
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): replace it") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not UTF-8 text; expected a file of keypoints: replace it"
        ) from error


def check_coordinates(points: Points, path: Path) -> None:
    """Raise UserError if any value is NaN or larger than any image.

    Args:
        points: coordinates in pixels, of any shape.
        path: the file to name in the message.
    """
    is_valid = np.abs(points) <= MAX_COORDINATE  # False for NaN
    invalid = points[~is_valid]
    if invalid.size:
        raise UserError(
            f"{path}: a coordinate of {invalid[0]:g}; expected pixels, at most {MAX_COORDINATE} from the corner: "
            "detect that frame's keypoints again"
        )


def _parse_face_point(path: Path, line: str) -> list[float]:
    try:
        x, y = map(float, line.split(","))
    except ValueError as error:
        raise _face_points_error(path, f"the line {line[:40]!r}") from error
    return [x, y]


def _parse_person(path: Path, person: dict[str, object]) -> Person:
    body = _parse_points(path, person, "pose_keypoints", (N_BODY_25_POINTS, N_COCO_18_POINTS))
    if len(body) == N_COCO_18_POINTS:
        body = _coco_18_to_body_25(body)
    face = _parse_points(path, person, "face_keypoints", (N_FACE_70_POINTS, N_FACE_POINTS))
    return Person(
        body,
        left_hand=_parse_points(path, person, "hand_left_keypoints", (N_HAND_POINTS,)),
        right_hand=_parse_points(path, person, "hand_right_keypoints", (N_HAND_POINTS,)),
        face=face[:N_FACE_POINTS],  # OpenPose's points 68 and 69 are the pupils
    )


def _parse_points(
    path: Path, person: dict[str, object], key: str, counts: tuple[int, ...]
) -> Points:
    """Return (N, 3), N being one of `counts`; zeros if the file has none of these points."""
    values = person.get(f"{key}_2d", person.get(key))
    if values is None or values == []:
        return np.zeros((counts[0], 3))
    # `type`, since isinstance(True, int) holds.
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise _openpose_error(path, f"{key} is no list of numbers")
    lengths = [3 * count for count in counts]
    if len(values) not in lengths:
        expected = " or ".join(str(length) for length in lengths)
        raise _openpose_error(path, f"{key} of {len(values)} numbers instead of {expected}")
    try:
        points = np.array(values, np.float64).reshape(-1, 3)
    except OverflowError as error:
        raise _openpose_error(path, f"{key} with a number too large for a float") from error
    check_coordinates(points, path)
    return points


def _coco_18_to_body_25(coco: Points) -> Points:
    body = np.zeros((N_BODY_25_POINTS, 3))
    body[list(COCO_18_TO_BODY_25)] = coco
    hips = body[list(HIP_INDICES)]
    if (hips[:, 2] > KEYPOINT_CONFIDENCE_THRESHOLD).all():
        x, y = hips[:, :2].mean(axis=0)
        body[MID_HIP_INDEX] = x, y, hips[:, 2].min()
    return body


def _face_points_error(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: {reason}; expected 68 lines x,y: detect that frame's keypoints again or drop the frame"
    )


def _openpose_error(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: {reason}; expected an OpenPose JSON file, "
        "BODY_25 or COCO-18: detect that frame's pose again"
    )
