"""Body poses: BODY_25 keypoints by MediaPipe's networks (BlazePose, Bazarevsky et al., 2020).

The network files are read from the wheel of the package mediapipe, which is not imported because it needs an old
numpy; ai-edge-litert runs them. A detector finds a person in the whole image. A second network predicts the keypoints
in an upright square around the person, and the square for the next frame.
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
from data.prepare.extractors.base import ExtractorOutput
from data.prepare.smoothing import interpolate_and_smooth
from util.errors import UserError

MEDIAPIPE_INSTALL_COMMAND = "pip install --no-deps mediapipe==0.10.21 && pip install ai-edge-litert"
_MODEL_FILES = {  # below mediapipe/modules
    "pose_detection": "pose_detection/pose_detection.tflite",
    "pose_landmark": "pose_landmark/pose_landmark_full.tflite",
}

_ANCHOR_GRIDS = ((28, 2), (14, 2), (7, 6))  # the detector's (cells per side, boxes per cell)
_DETECTOR_INPUT_SIZE = 224
_LANDMARK_INPUT_SIZE = 256
_DETECTION_THRESHOLD = 0.5  # minimum probability of a person, in the detector's output
_TRACKING_THRESHOLD = 0.5  # the same in the landmark network's output
_VISIBILITY_THRESHOLD = 0.5  # keypoints below it are left out
_N_BLAZEPOSE_KEYPOINTS = 39  # 33 of the body, 2 that give its position and size, 4 unused
_HIP_CENTER_INDEX = 33
_BODY_TOP_INDEX = 34
_CROP_MARGIN = 1.25  # side of the crop, relative to the diameter of the body's circle
_BLAZEPOSE_TO_BODY_25 = {  # each point is the mean of these; BlazePose has no small toes (20, 23)
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
    """Body keypoints of the largest person, who is then tracked; hands and face are left out."""

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
    """A square in an image, rotated so that the body in it is upright.

    Attributes:
        center: (x, y) in pixels.
        side: In pixels.
        rotation: Radians, clockwise on screen; 0 for a body that is upright in the image.
    """

    center: tuple[float, float]
    side: float
    rotation: float

    @staticmethod
    def from_hips(hip_center: np.ndarray, body_top: np.ndarray) -> BodyRegion:
        """Build the region around a body.

        Args:
            hip_center: (x, y) of the center of the body's circle.
            body_top: (x, y) on that circle, in the direction of the head.
        """
        x, y = body_top - hip_center
        radius = float(np.hypot(x, y))
        return BodyRegion(
            center=(float(hip_center[0]), float(hip_center[1])),
            side=2 * _CROP_MARGIN * radius,
            rotation=float(np.arctan2(x, -y)),
        )

    def compute_image_affine(self, size: int) -> np.ndarray:
        """Compute the (2, 3) affine map from pixels of a crop of this size to pixels of the image."""
        scale = self.side / size
        cosine = scale * np.cos(self.rotation)
        sine = scale * np.sin(self.rotation)
        linear = np.array([[cosine, -sine], [sine, cosine]])
        offset = np.array(self.center) - linear @ (size / 2, size / 2)
        return np.column_stack([linear, offset])

    def crop(self, image: np.ndarray, size: int) -> np.ndarray:
        """Resample the region to (size, size, 3); black outside the image."""
        affine = self.compute_image_affine(size)
        # OpenCV's coordinates are 0 at the center of the first pixel, ours at its corner
        affine[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, affine, (size, size), flags=flags)


def detect_bodies(images: Iterable[np.ndarray]) -> Iterator[np.ndarray | None]:
    """Detect and track one person over consecutive images, (H, W, 3) uint8 RGB.

    Yields:
        For each image (25, 3): x, y in pixels and visibility in 0..1; None without a person.
    """
    region: BodyRegion | None = None
    for image in images:
        detection = detect_body_keypoints(image, region) if region else None
        if detection is None:
            region = detect_body_region(image)
            detection = detect_body_keypoints(image, region) if region else None
        if detection is None:
            region = None
            yield None
        else:
            keypoints, region = detection
            yield convert_to_body_25(keypoints)


def detect_body_region(image: np.ndarray) -> BodyRegion | None:
    """Find the largest person in a whole image."""
    height, width = image.shape[:2]
    whole_image = BodyRegion((width / 2, height / 2), max(width, height), 0.0)
    network_input = whole_image.crop(image, _DETECTOR_INPUT_SIZE) / 127.5 - 1
    outputs = _run_network("pose_detection", network_input)
    boxes = outputs[0][0]
    scores = _sigmoid(outputs[1][0, :, 0])
    if scores.max() < _DETECTION_THRESHOLD:
        return None
    anchors = compute_anchors() * _DETECTOR_INPUT_SIZE
    hip_centers = boxes[:, 4:6] + anchors
    body_tops = boxes[:, 6:8] + anchors
    radii = np.hypot(*(body_tops - hip_centers).T)
    radii = np.where(scores >= _DETECTION_THRESHOLD, radii, 0)
    # several boxes detect the same person: choose the most confident of the largest ones
    is_near_largest = radii > 0.8 * radii.max()
    best = int(np.where(is_near_largest, scores, 0).argmax())
    points = np.stack([hip_centers[best], body_tops[best]])
    affine = whole_image.compute_image_affine(_DETECTOR_INPUT_SIZE)
    return BodyRegion.from_hips(*_apply_affine(points, affine))


def detect_body_keypoints(
    image: np.ndarray, region: BodyRegion
) -> tuple[np.ndarray, BodyRegion] | None:
    """Predict the keypoints of the person in a region of an image.

    Returns:
        (39, 3) x, y in pixels of the image and visibility in 0..1, and the region for the next image; None without
        a person.
    """
    network_input = region.crop(image, _LANDMARK_INPUT_SIZE) / 255
    outputs = _run_network("pose_landmark", network_input)
    keypoints = outputs[0].reshape(_N_BLAZEPOSE_KEYPOINTS, 5)  # x, y, z, visibility, presence
    person_probability = float(outputs[1][0, 0])
    if person_probability < _TRACKING_THRESHOLD:
        return None
    points = _apply_affine(keypoints[:, :2], region.compute_image_affine(_LANDMARK_INPUT_SIZE))
    visibility = _sigmoid(keypoints[:, 3])
    next_region = BodyRegion.from_hips(points[_HIP_CENTER_INDEX], points[_BODY_TOP_INDEX])
    return np.column_stack([points, visibility]), next_region


def convert_to_body_25(keypoints: np.ndarray) -> np.ndarray:
    """Convert BlazePose keypoints (33 or more, 3) to BODY_25, (25, 3).

    A point that is the mean of several is as visible as the least visible of them.
    """
    body = np.zeros((N_BODY_25_POINTS, 3))
    for index, sources in _BLAZEPOSE_TO_BODY_25.items():
        points = keypoints[list(sources)]
        body[index, :2] = points[:, :2].mean(0)
        body[index, 2] = points[:, 2].min()
    return body


def format_openpose_json(body: np.ndarray) -> str:
    """Format BODY_25 keypoints (25, 3) as an OpenPose file with one person; hidden points become 0."""
    visible = np.where(body[:, 2:] >= _VISIBILITY_THRESHOLD, body, 0).round(3)
    return json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": visible.ravel().tolist()}]})


@cache
def compute_anchors() -> np.ndarray:
    """Compute the cell centers of the detector's boxes, (2254, 2) x, y in 0..1."""
    anchors = []
    for side, n_boxes in _ANCHOR_GRIDS:
        for y in range(side):
            for x in range(side):
                anchors += [((x + 0.5) / side, (y + 0.5) / side)] * n_boxes
    return np.array(anchors)


def _apply_affine(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return points @ affine[:, :2].T + affine[:, 2]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.clip(-80, 80)))


def _run_network(name: str, image: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of a network for one image (side, side, 3)."""
    network = _load_network(name)
    network.set_tensor(network.get_input_details()[0]["index"], image[None].astype(np.float32))
    network.invoke()
    return [network.get_tensor(output["index"]) for output in network.get_output_details()]


@cache
def _load_network(name: str) -> Any:
    package = find_spec("mediapipe")
    if package is None or package.origin is None:
        raise UserError(
            f"--mode pose without --keypoints needs mediapipe's networks: {MEDIAPIPE_INSTALL_COMMAND}"
        )
    path = Path(package.origin).parent / "modules" / _MODEL_FILES[name]
    if not path.is_file():
        raise UserError(
            f"{path} does not exist (mediapipe 1 has no network files): {MEDIAPIPE_INSTALL_COMMAND}"
        )
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            f"--mode pose without --keypoints needs ai-edge-litert ({error}): {MEDIAPIPE_INSTALL_COMMAND}"
        ) from error
    network = Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    return network
