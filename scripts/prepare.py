"""Build a data set from videos: `python scripts/prepare.py ride.mp4 --out datasets/ride --mode edges`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data.prepare.config import EXTRACTORS, PrepareConfig
from data.prepare.extractors.base import ConditionExtractor
from data.prepare.extractors.edges import EdgeExtractor
from data.prepare.extractors.labels import CITYSCAPES_THING_IDS, LabelMapExtractor
from data.prepare.extractors.landmarks import LandmarkExtractor
from data.prepare.extractors.openpose import OpenPoseFileExtractor
from data.prepare.extractors.pose import PoseExtractor
from data.prepare.report import format_train_command, write_prepare_report
from data.prepare.video import PrepareResult, VideoConfig, prepare_video
from util.errors import UserError, exit_on_user_error


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument(
        "--out", "--to", type=Path, required=True, metavar="DATASET", help="data root to write"
    )
    parser.add_argument("--mode", choices=EXTRACTORS, required=True)
    parser.add_argument("--fps", type=float, help="frames per second; default: the video's own")
    parser.add_argument("--width", type=int, help="frame width in pixels; default: the video's own")
    parser.add_argument(
        "--test_fraction",
        "--test_share",
        type=float,
        default=0.2,
        help="part at the end of every shot that is held out for test",
    )
    parser.add_argument(
        "--min_frames", "--shortest", type=int, default=8, help="length of the shortest sequence"
    )
    parser.add_argument(
        "--edges", choices=["soft", "canny"], default="soft", help="edges: kind of edge map"
    )
    parser.add_argument(
        "--upsample",
        type=int,
        default=1,
        help="face: how many times the image is doubled to find small faces",
    )
    parser.add_argument(
        "--keypoints",
        type=Path,
        metavar="FOLDER",
        help="pose: OpenPose's JSON files, in a subfolder named after each video; default: detect the largest "
        "person with MediaPipe's networks",
    )
    parser.add_argument(
        "--segmenter", type=Path, metavar="ONNX", help="street, labels: segmentation network"
    )
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="FOLDER",
        help="street, labels: existing masks instead, in a subfolder named after each video",
    )
    parser.add_argument("--label_nc", type=int, help="labels: number of labels; street has 35")
    parser.add_argument(
        "--thing_ids",
        "--things",
        default="",
        metavar="IDS",
        help="labels: ids whose connected parts are instances, as in 1,3",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="number of videos to prepare in parallel"
    )
    return parser


def _check_extractor_flags(args: argparse.Namespace) -> None:
    if args.mode == "labels" and args.label_nc is None:
        raise UserError("--mode labels needs --label_nc: the number of labels")
    if args.mode in ("street", "labels") and (args.segmenter is None) == (args.masks is None):
        raise UserError(
            f"--mode {args.mode} needs either --segmenter ONNX or --masks FOLDER: give one of them"
        )


def _build_extractor(args: argparse.Namespace, video: Path) -> ConditionExtractor:
    """Build the extractor of a video, whose masks or keypoint files lie in a folder of its name."""
    if args.mode == "edges":
        return EdgeExtractor(args.edges)
    if args.mode == "face":
        return LandmarkExtractor(args.upsample)
    if args.mode == "pose" and args.keypoints:
        return OpenPoseFileExtractor(args.keypoints / video.stem)
    if args.mode == "pose":
        return PoseExtractor()
    source = args.segmenter or args.masks / video.stem
    if args.mode == "street":
        return LabelMapExtractor(source, 35, CITYSCAPES_THING_IDS, uses_cityscapes_train_ids=True)
    thing_ids = tuple(int(part) for part in args.thing_ids.split(",") if part)
    return LabelMapExtractor(source, args.label_nc, thing_ids)


def _prepare_or_report(
    job: tuple[Path, ConditionExtractor], root: Path, config: VideoConfig
) -> PrepareResult:
    """Prepare a video; one that cannot be read becomes an empty result with the error as its note."""
    video, extractor = job
    try:
        return prepare_video(video, root, extractor, config)
    except UserError as error:
        return PrepareResult(str(video), 0.0, (), (str(error),))


def _prepare_all(
    jobs: list[tuple[Path, ConditionExtractor]], root: Path, config: VideoConfig, n_workers: int
) -> Iterator[PrepareResult]:
    prepare = partial(_prepare_or_report, root=root, config=config)
    if n_workers == 1:
        yield from map(prepare, jobs)
        return
    with ProcessPoolExecutor(n_workers) as pool:
        yield from pool.map(prepare, jobs)


def _check_unique_names(videos: list[Path]) -> None:
    for name, count in Counter(video.stem for video in videos).items():
        if count > 1:
            raise UserError(
                f"{count} videos are named {name}, and so would be their sequences: rename them"
            )


def main() -> None:
    """Prepare all videos, write the report, and print the command that trains on the result."""
    args = _build_parser().parse_args()
    _check_unique_names(args.videos)
    _check_extractor_flags(args)
    jobs = [(video, _build_extractor(args, video)) for video in args.videos]
    first_extractor = jobs[0][1]
    video_config = VideoConfig(args.fps, args.width, args.test_fraction, args.min_frames)
    PrepareConfig(args.mode, first_extractor, video_config).save(args.out)
    progress = tqdm(
        _prepare_all(jobs, args.out, video_config, args.workers), "videos", total=len(jobs)
    )
    results = list(progress)
    print(write_prepare_report(args.out, results, first_extractor))
    if not any(segment.phase for result in results for segment in result.segments):
        raise UserError(
            f"no sequence could be written from {', '.join(map(str, args.videos))}: the lines above say why"
        )
    train_command = format_train_command(args.out, first_extractor)
    print(f"see {args.out / 'index.html'}, then train:\n{train_command}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
