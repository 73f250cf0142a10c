"""Face landmarks: dlib's 68 points of every frame, smoothed and without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from data.landmark_detection import LandmarkDetector, build_dlib_detector, find_predictor
from data.prepare.extractors.base import ExtractorOutput
from data.prepare.smoothing import interpolate_and_smooth


@dataclass(frozen=True)
class LandmarkExtractor:
    """The 68 landmarks of the largest face.

    The training data of the landmark model (iBUG 300-W) exclude commercial use.

    Attributes:
        upsample: How many times the image is doubled first: dlib's detector needs faces of about 80 pixels.
        image_folder: Stream name of the real images.
    """

    upsample: int = 1
    image_folder: str = "img"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"keypoints": ".txt"}

    def format_train_flags(self) -> str:
        return "--dataset_mode face --input_nc 15"

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        detections = [detect_landmarks(image, self.upsample) for image in images]
        for landmarks in interpolate_and_smooth(detections, "a face"):
            yield {"keypoints": "".join(f"{x:g},{y:g}\n" for x, y in landmarks.round(2))}


def detect_landmarks(image: np.ndarray, upsample: int) -> np.ndarray | None:
    """Return the landmarks of the largest face, (68, 2) float64 x, y in pixels; None without a face."""
    landmarks = _load_detector(upsample)(image)
    return None if landmarks is None else landmarks.astype(np.float64)


@cache
def _load_detector(upsample: int) -> LandmarkDetector:
    return build_dlib_detector(find_predictor(), upsample_steps=(upsample,), choose_largest=True)
