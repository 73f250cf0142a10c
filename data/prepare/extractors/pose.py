"""Bodies: BODY_25 keypoints of every frame by MediaPipe's pose networks (BlazePose, Bazarevsky et al., 2020).

The networks lie in the wheel of the package mediapipe, which needs a numpy of old: its files are read, it is not
imported, and ai-edge-litert runs them. A detector finds somebody in the whole image; a second network finds the
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

from data.keypoints import N_BODY_25_POINTS
from data.prepare.extractors.edges import ExtractorOutput
from data.prepare.smoothing import interpolate_and_smooth
from util.errors import UserError

MEDIAPIPE_INSTALL_COMMAND = "pip install --no-deps mediapipe==0.10.21 && pip install ai-edge-litert"
_ANCHOR_GRIDS = (
    (28, 2),
    (14, 2),
    (7, 6),
)  # cells a side, and boxes a cell, of the detector's answers
_DETECTION_THRESHOLD, _TRACKING_THRESHOLD = 0.5, 0.5  # probabilities from which somebody is there
_DETECTOR_INPUT_SIZE, _LANDMARK_INPUT_SIZE = 224, 256
_N_BLAZEPOSE_KEYPOINTS, _HIP_CENTER_INDEX, _BODY_TOP_INDEX = (
    39,
    33,
    34,
)  # of them 33 of the body; then where the body is, and how large
_CROP_MARGIN = 1.25  # of the square around the circle that the body fits in
_VISIBILITY_THRESHOLD = 0.5  # visibility from which a point is drawn
_BLAZEPOSE_TO_BODY_25 = {  # BODY_25's points as means of the network's; it knows no small toes
    0: (0,),
    1: (11, 12),
    2: (12,),
    3: (14,),
    4: (16,),
    5: (11,),
    6: (13,),
    7: (15,),
    8: (23, 24),
    9: (24,),
    10: (26,),
    11: (28,),
    12: (23,),
    13: (25,),
    14: (27,),
    15: (5,),
    16: (2,),
    17: (8,),
    18: (7,),
    19: (31,),
    21: (29,),
    22: (32,),
    24: (30,),
}


@dataclass(frozen=True)
class PoseExtractor:
    """The largest person; once found, followed. Hands and face are not looked for."""

    image_folder: str = "img"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"openpose": "_keypoints.json"}

    def format_train_flags(self) -> str:
        return "--dataset_mode pose --openpose_only --input_nc 3"

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        for body in interpolate_and_smooth(list(detect_bodies(images)), "a person"):
            yield {"openpose": format_openpose_json(body)}


@dataclass(frozen=True)
class BodyRegion:
    """A square in an image, upright for the body in it. centre: (x, y); side: both in pixels; turn: radians, 0 for a
    body that stands upright."""

    center: tuple[float, float]
    side: float
    rotation: float

    @staticmethod
    def from_hips(hip_center: np.ndarray, body_top: np.ndarray) -> BodyRegion:
        """hips: (x, y) of a body's middle; top: a point of the circle around it, straight above it as the body goes."""
        x, y = body_top - hip_center
        return BodyRegion(
            (float(hip_center[0]), float(hip_center[1])),
            2 * _CROP_MARGIN * float(np.hypot(x, y)),
            float(np.arctan2(x, -y)),
        )

    def compute_image_affine(self, size: int) -> np.ndarray:
        """(2, 3) affine: from pixels of this region, drawn `side` wide, to those of the image."""
        scale = self.side / size
        cosine, sine = scale * np.cos(self.rotation), scale * np.sin(self.rotation)
        linear = np.array([[cosine, -sine], [sine, cosine]])
        return np.column_stack([linear, np.array(self.center) - linear @ (size / 2, size / 2)])

    def crop(self, image: np.ndarray, size: int) -> np.ndarray:
        """(side, side, 3); black beyond the image."""
        affine = self.compute_image_affine(size)
        affine[:, 2] += (
            affine[:, :2] @ (0.5, 0.5) - 0.5
        )  # OpenCV counts from the middle of the first pixel
        return cv2.warpAffine(
            image, affine, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )


def detect_bodies(images: Iterable[np.ndarray]) -> Iterator[np.ndarray | None]:
    """(H, W, 3) uint8 RGB, one after the other -> (25, 3) x, y in pixels and visibility in 0..1; None: nobody there."""
    region: BodyRegion | None = None
    for image in images:
        found = detect_body_keypoints(image, region) if region else None
        if found is None and (region := detect_body_region(image)):
            found = detect_body_keypoints(image, region)
        region = found[1] if found else None
        yield convert_to_body_25(found[0]) if found else None


def detect_body_region(image: np.ndarray) -> BodyRegion | None:
    """Where the largest person is that the detector finds."""
    height, width = image.shape[:2]
    whole = BodyRegion((width / 2, height / 2), max(width, height), 0.0)
    answers = _run_network("pose_detection", whole.crop(image, _DETECTOR_INPUT_SIZE) / 127.5 - 1)
    boxes, scores = answers[0][0], _sigmoid(answers[1][0, :, 0])
    if scores.max() < _DETECTION_THRESHOLD:
        return None
    hips, tops = (
        boxes[:, first : first + 2] + compute_anchors() * _DETECTOR_INPUT_SIZE for first in (4, 6)
    )
    sizes = np.where(scores >= _DETECTION_THRESHOLD, np.hypot(*(tops - hips).T), 0)
    near_largest = sizes > 0.8 * sizes.max()  # several boxes find one person: the surest
    best = int(np.where(near_largest, scores, 0).argmax())
    return BodyRegion.from_hips(
        *_apply_affine(
            np.stack([hips[best], tops[best]]), whole.compute_image_affine(_DETECTOR_INPUT_SIZE)
        )
    )


def detect_body_keypoints(
    image: np.ndarray, region: BodyRegion
) -> tuple[np.ndarray, BodyRegion] | None:
    """(39, 3) x, y in pixels and visibility; and where to look in the next image. None: nobody is there."""
    answers = _run_network("pose_landmark", region.crop(image, _LANDMARK_INPUT_SIZE) / 255)
    points, there = answers[0].reshape(_N_BLAZEPOSE_KEYPOINTS, 5), float(answers[1][0, 0])
    if there < _TRACKING_THRESHOLD:
        return None
    places = _apply_affine(points[:, :2], region.compute_image_affine(_LANDMARK_INPUT_SIZE))
    return np.column_stack([places, _sigmoid(points[:, 3])]), BodyRegion.from_hips(
        places[_HIP_CENTER_INDEX], places[_BODY_TOP_INDEX]
    )


def convert_to_body_25(keypoints: np.ndarray) -> np.ndarray:
    """(33 or more, 3) of the network -> (25, 3); as visible as the least of those a point is the mean of."""
    body = np.zeros((N_BODY_25_POINTS, 3))
    for number, own in _BLAZEPOSE_TO_BODY_25.items():
        body[number] = *keypoints[list(own), :2].mean(0), keypoints[list(own), 2].min()
    return body


def format_openpose_json(body: np.ndarray) -> str:
    """A keypoint file with one person. Points that are hidden, or guessed, are not there."""
    seen = np.where(body[:, 2:] >= _VISIBILITY_THRESHOLD, body, 0).round(3)
    return json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": seen.ravel().tolist()}]})


@cache
def compute_anchors() -> np.ndarray:
    """(2254, 2): the middles x, y of the detector's cells, in 0..1, a box each."""
    cells = [
        ((x + 0.5) / side, (y + 0.5) / side)
        for side, boxes in _ANCHOR_GRIDS
        for y in range(side)
        for x in range(side)
        for _ in range(boxes)
    ]
    return np.array(cells)


def _apply_affine(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return points @ affine[:, :2].T + affine[:, 2]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.clip(-80, 80)))


def _run_network(name: str, image: np.ndarray) -> list[np.ndarray]:
    """The network's answers to (side, side, 3)."""
    network = _load_network(name)
    network.set_tensor(network.get_input_details()[0]["index"], image[None].astype(np.float32))
    network.invoke()
    return [network.get_tensor(answer["index"]) for answer in network.get_output_details()]


@cache
def _load_network(name: str) -> Any:
    package = find_spec("mediapipe")
    if package is None or package.origin is None:
        raise UserError(
            f"--mode pose without --keypoints needs mediapipe's networks: {MEDIAPIPE_INSTALL_COMMAND}"
        )
    file = {"pose_detection": "pose_detection", "pose_landmark": "pose_landmark_full"}[name]
    path = Path(package.origin).parent / "modules" / name / f"{file}.tflite"
    if not path.is_file():
        raise UserError(
            f"{path} is not there (mediapipe 1 carries no networks): {MEDIAPIPE_INSTALL_COMMAND}"
        )
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as problem:
        raise UserError(
            f"--mode pose without --keypoints needs ai-edge-litert ({problem}): {MEDIAPIPE_INSTALL_COMMAND}"
        ) from problem
    network = Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    return network
