"""Keypoint files -> arrays, in pixels. A file that does not hold what its format says is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.drawing import Points
from util.errors import UserError

FAR = 2**14  # px; farther out than any film frame is wide: the file is broken, and its curves would fill the memory

FACE_POINTS = 68


def read_face_points(path: Path) -> Points:
    """(68, 2) points of a face in dlib's order, from a text file of 68 lines `x,y`. Blank lines do not count."""
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if len(lines) != FACE_POINTS:
        raise _not_a_face(path, f"{len(lines)} lines")
    points = np.array([_face_point(path, line) for line in lines])
    check_near(points, path)
    return points


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror}): replace it") from fault
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: holds no text: expected a file of keypoints, replace it") from fault


def check_near(points: Points, path: Path) -> None:
    """Refuses coordinates (any shape) that are no pixels of any picture."""
    far = points[~(np.abs(points) <= FAR)]  # NaN too
    if far.size:
        raise UserError(f"{path}: a coordinate of {far[0]:g}; expected pixels, at most {FAR} from the corner: "
                        "detect that frame's keypoints again")


def _face_point(path: Path, line: str) -> list[float]:
    try:
        x, y = map(float, line.split(","))
    except ValueError as fault:
        raise _not_a_face(path, f"the line {line[:40]!r}") from fault
    return [x, y]


def _not_a_face(path: Path, found: str) -> UserError:
    return UserError(f"{path}: {found}; expected 68 lines x,y: detect that frame's keypoints again or drop the frame")
