"""Bodies: BODY_25 keypoints of every frame by MediaPipe's pose networks (BlazePose, Bazarevsky et al., 2020).

The networks lie in the wheel of the package mediapipe, which needs a numpy of old: its files are read, it is not
imported, and ai-edge-litert runs them. A detector finds somebody in the whole picture; a second network finds the
points in an upright square around them, and where to look in the next frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.keypoints import BODY_25
from data.prepare.makers import Contents
from data.prepare.tracks import steady
from util.errors import UserError

INSTALL = "pip install --no-deps mediapipe==0.10.21 && pip install ai-edge-litert"
GRIDS = (28, 2), (14, 2), (7, 6)  # cells a side, and boxes a cell, of the detector's answers
DETECTED, TRACKED = 0.5, 0.5  # probabilities from which somebody is there
DETECTOR_SIDE, POINTS_SIDE = 224, 256
N_POINTS, CENTRE, TOP = 39, 33, 34  # of them 33 of the body; then where the body is, and how large
MARGIN = 1.25  # of the square around the circle that the body fits in
SURE = 0.5  # visibility from which a point is drawn
FOUND_AS = {  # BODY_25's points as means of the network's; it knows no small toes
    0: (0,), 1: (11, 12), 2: (12,), 3: (14,), 4: (16,), 5: (11,), 6: (13,), 7: (15,), 8: (23, 24), 9: (24,), 10: (26,),
    11: (28,), 12: (23,), 13: (25,), 14: (27,), 15: (5,), 16: (2,), 17: (8,), 18: (7,), 19: (31,), 21: (29,), 22: (32,),
    24: (30,)}


@dataclass(frozen=True)
class Bodies:
    """The largest person; once found, followed. Hands and face are not looked for."""

    picture_folder: str = "img"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"openpose": "_keypoints.json"}

    def flags(self) -> str:
        return "--dataset_mode pose --openpose_only --input_nc 3"

    def __call__(self, pictures: Iterable[np.ndarray], start: int) -> Iterator[Contents]:
        for body in steady(list(find_bodies(pictures)), "a person"):
            yield {"openpose": as_openpose(body)}


@dataclass(frozen=True)
class Region:
    """A square in a picture, upright for the body in it. centre: (x, y); side: both in pixels; turn: radians, 0 for a
    body that stands upright."""

    centre: tuple[float, float]
    side: float
    turn: float

    @staticmethod
    def around(hips: np.ndarray, top: np.ndarray) -> Region:
        """hips: (x, y) of a body's middle; top: a point of the circle around it, straight above it as the body goes."""
        x, y = top - hips
        return Region((float(hips[0]), float(hips[1])), 2 * MARGIN * float(np.hypot(x, y)), float(np.arctan2(x, -y)))

    def to_picture(self, side: int) -> np.ndarray:
        """(2, 3) affine: from pixels of this region, drawn `side` wide, to those of the picture."""
        scale = self.side / side
        cosine, sine = scale * np.cos(self.turn), scale * np.sin(self.turn)
        linear = np.array([[cosine, -sine], [sine, cosine]])
        return np.column_stack([linear, np.array(self.centre) - linear @ (side / 2, side / 2)])

    def cut(self, picture: np.ndarray, side: int) -> np.ndarray:
        """(side, side, 3); black beyond the picture."""
        affine = self.to_picture(side)
        affine[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the middle of the first pixel
        return cv2.warpAffine(picture, affine, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def find_bodies(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray | None]:
    """(H, W, 3) uint8 RGB, one after the other -> (25, 3) x, y in pixels and visibility in 0..1; None: nobody there."""
    region: Region | None = None
    for picture in pictures:
        found = find_points(picture, region) if region else None
        if found is None and (region := find_region(picture)):
            found = find_points(picture, region)
        region = found[1] if found else None
        yield as_body_25(found[0]) if found else None


def find_region(picture: np.ndarray) -> Region | None:
    """Where the largest person is that the detector finds."""
    height, width = picture.shape[:2]
    whole = Region((width / 2, height / 2), max(width, height), 0.0)
    answers = _run("pose_detection", whole.cut(picture, DETECTOR_SIDE) / 127.5 - 1)
    boxes, scores = answers[0][0], _sigmoid(answers[1][0, :, 0])
    if scores.max() < DETECTED:
        return None
    hips, tops = (boxes[:, first:first + 2] + anchors() * DETECTOR_SIDE for first in (4, 6))
    sizes = np.where(scores >= DETECTED, np.hypot(*(tops - hips).T), 0)
    near_largest = sizes > 0.8 * sizes.max()  # several boxes find one person: the surest
    best = int(np.where(near_largest, scores, 0).argmax())
    return Region.around(*_moved(np.stack([hips[best], tops[best]]), whole.to_picture(DETECTOR_SIDE)))


def find_points(picture: np.ndarray, region: Region) -> tuple[np.ndarray, Region] | None:
    """(39, 3) x, y in pixels and visibility; and where to look in the next picture. None: nobody is there."""
    answers = _run("pose_landmark", region.cut(picture, POINTS_SIDE) / 255)
    points, there = answers[0].reshape(N_POINTS, 5), float(answers[1][0, 0])
    if there < TRACKED:
        return None
    places = _moved(points[:, :2], region.to_picture(POINTS_SIDE))
    return np.column_stack([places, _sigmoid(points[:, 3])]), Region.around(places[CENTRE], places[TOP])


def as_body_25(points: np.ndarray) -> np.ndarray:
    """(33 or more, 3) of the network -> (25, 3); as visible as the least of those a point is the mean of."""
    body = np.zeros((BODY_25, 3))
    for number, own in FOUND_AS.items():
        body[number] = *points[list(own), :2].mean(0), points[list(own), 2].min()
    return body


def as_openpose(body: np.ndarray) -> str:
    """A keypoint file with one person. Points that are hidden, or guessed, are not there."""
    seen = np.where(body[:, 2:] >= SURE, body, 0).round(3)
    return json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": seen.ravel().tolist()}]})


@cache
def anchors() -> np.ndarray:
    """(2254, 2): the middles x, y of the detector's cells, in 0..1, a box each."""
    cells = [((x + 0.5) / side, (y + 0.5) / side) for side, boxes in GRIDS for y in range(side) for x in range(side)
             for _ in range(boxes)]
    return np.array(cells)


def _moved(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return points @ affine[:, :2].T + affine[:, 2]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.clip(-80, 80)))


def _run(name: str, picture: np.ndarray) -> list[np.ndarray]:
    """The network's answers to (side, side, 3)."""
    network = _network(name)
    network.set_tensor(network.get_input_details()[0]["index"], picture[None].astype(np.float32))
    network.invoke()
    return [network.get_tensor(answer["index"]) for answer in network.get_output_details()]


@cache
def _network(name: str) -> Any:
    package = find_spec("mediapipe")
    if package is None or package.origin is None:
        raise UserError(f"--mode pose without --keypoints needs mediapipe's networks: {INSTALL}")
    file = {"pose_detection": "pose_detection", "pose_landmark": "pose_landmark_full"}[name]
    path = Path(package.origin).parent / "modules" / name / f"{file}.tflite"
    if not path.is_file():
        raise UserError(f"{path} is not there (mediapipe 1 carries no networks): {INSTALL}")
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as problem:
        raise UserError(f"--mode pose without --keypoints needs ai-edge-litert ({problem}): {INSTALL}") from problem
    network = Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    return network
