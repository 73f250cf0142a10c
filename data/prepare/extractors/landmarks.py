"""Faces: dlib's 68 landmarks of every frame, steady and without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from data.prepare.extractors.edges import ExtractorOutput
from data.prepare.smoothing import interpolate_and_smooth
from util.errors import UserError

_PREDICTOR_PATH = "models/shape_predictor_68_face_landmarks.dat"


@dataclass(frozen=True)
class LandmarkExtractor:
    """The largest face. Its detector was trained for faces of 80 pixels: upsample doubles the image so many times.

    The landmark model's own training data (iBUG 300-W) excludes commercial use."""

    upsample: int = 1
    image_folder: str = "img"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"keypoints": ".txt"}

    def format_train_flags(self) -> str:
        return "--dataset_mode face --input_nc 15"

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        found = [detect_landmarks(image, self.upsample) for image in images]
        for points in interpolate_and_smooth(found, "a face"):
            yield {"keypoints": "".join(f"{x:g},{y:g}\n" for x, y in points.round(2))}


def detect_landmarks(image: np.ndarray, upsample: int) -> np.ndarray | None:
    """(68, 2) in dlib's order of the largest face, None where there is none."""
    detector, predictor = _load_dlib_models()
    faces = detector(image, upsample)
    if not faces:
        return None
    shape = predictor(image, max(faces, key=lambda face: face.area()))
    return np.array([(point.x, point.y) for point in shape.parts()], np.float64)


@cache
def _load_dlib_models() -> tuple[Any, Any]:
    try:
        import dlib
    except ImportError as problem:
        raise UserError(
            f"--mode face needs dlib ({problem}): pip install -e '.[face]'"
        ) from problem
    package = find_spec(
        "face_recognition_models"
    )  # found, not imported: its import needs a setuptools of old
    if package is None or package.origin is None:
        raise UserError("--mode face needs the landmark model: pip install -e '.[face]'")
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(
        str(Path(package.origin).parent / _PREDICTOR_PATH)
    )
