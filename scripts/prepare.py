"""A data set from your own videos: `python scripts/prepare.py ride.mp4 --to datasets/ride --mode edges`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data.prepare.config import EXTRACTORS, PrepareConfig
from data.prepare.extractors.edges import ConditionExtractor, EdgeExtractor, OpenPoseFileExtractor
from data.prepare.extractors.labels import CITYSCAPES_THING_IDS, LabelMapExtractor
from data.prepare.extractors.landmarks import LandmarkExtractor
from data.prepare.extractors.pose import PoseExtractor
from data.prepare.report import format_train_command, write_prepare_report
from data.prepare.video import PrepareResult, VideoConfig, prepare_video
from util.errors import UserError, exit_on_user_error

ExtractorFactory = Callable[
    [Path], ConditionExtractor
]  # a video's: masks and keypoints lie in a folder of its name


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="DATASET", help="the data root to write"
    )
    parser.add_argument("--mode", choices=EXTRACTORS, required=True)
    parser.add_argument("--fps", type=float, help="frames a second; default: the video's own")
    parser.add_argument(
        "--width", type=int, help="of the frames in pixels; default: the video's own"
    )
    parser.add_argument(
        "--test_share", type=float, default=0.2, help="of every shot, its end, held out"
    )
    parser.add_argument(
        "--shortest", type=int, default=8, help="frames that a sequence has at least"
    )
    parser.add_argument(
        "--edges", choices=["soft", "canny"], default="soft", help="edges: their kind"
    )
    parser.add_argument(
        "--upsample",
        type=int,
        default=1,
        help="face: times the image is doubled to find small ones",
    )
    parser.add_argument(
        "--keypoints",
        type=Path,
        metavar="FOLDER",
        help="pose: OpenPose's JSON files, in a folder for each video's name; default: MediaPipe's "
        "networks find the largest person",
    )
    parser.add_argument(
        "--segmenter", type=Path, metavar="ONNX", help="street, labels: the network that labels"
    )
    parser.add_argument(
        "--masks",
        type=Path,
        help="street, labels: in its stead masks, a folder for each video's name",
    )
    parser.add_argument("--label_nc", type=int, help="labels: how many; street has 35")
    parser.add_argument(
        "--things",
        default="",
        metavar="IDS",
        help="labels: those whose parts are instances, as 1,3",
    )
    parser.add_argument("--workers", type=int, default=1, help="videos at a time")
    return parser


def _make_extractor_factory(args: argparse.Namespace) -> ExtractorFactory:
    """UserError names the flag that the mode lacks."""
    if args.mode == "edges":
        return lambda _: EdgeExtractor(args.edges)
    if args.mode == "face":
        return lambda _: LandmarkExtractor(args.upsample)
    if args.mode == "pose":
        return lambda video: (
            OpenPoseFileExtractor(args.keypoints / video.stem)
            if args.keypoints
            else PoseExtractor()
        )
    if args.mode == "labels" and args.label_nc is None:
        raise UserError("--mode labels needs --label_nc: how many labels there are")
    if (args.segmenter is None) == (args.masks is None):
        raise UserError(f"--mode {args.mode} needs --segmenter ONNX or --masks FOLDER, one of them")
    street = args.mode == "street"
    things = (
        CITYSCAPES_THING_IDS
        if street
        else tuple(int(part) for part in args.things.split(",") if part)
    )
    label_nc = 35 if street else args.label_nc
    return lambda video: LabelMapExtractor(
        args.segmenter or args.masks / video.stem, label_nc, things, street
    )


def _prepare_or_report(
    job: tuple[Path, ConditionExtractor], root: Path, config: VideoConfig
) -> PrepareResult:
    """A video that cannot be read is left out, with the reason; the others go on."""
    video, maker = job
    try:
        return prepare_video(video, root, maker, config)
    except UserError as fault:
        return PrepareResult(str(video), 0.0, (), (str(fault),))


def _prepare_all(
    jobs: list[tuple[Path, ConditionExtractor]], root: Path, config: VideoConfig, workers: int
) -> Iterator[PrepareResult]:
    work = partial(_prepare_or_report, root=root, config=config)
    if workers == 1:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(work, jobs)


def main() -> None:
    args = _build_parser().parse_args()
    for stem, count in Counter(video.stem for video in args.videos).items():
        if count > 1:
            raise UserError(
                f"{count} videos are called {stem}: their sequences would be too; rename them"
            )
    maker_of = _make_extractor_factory(args)
    how = VideoConfig(args.fps, args.width, args.test_share, args.shortest)
    jobs = [(video, maker_of(video)) for video in args.videos]
    PrepareConfig(args.mode, jobs[0][1], how).save(args.to)
    done = list(tqdm(_prepare_all(jobs, args.to, how, args.workers), "videos", len(jobs)))
    print(write_prepare_report(args.to, done, jobs[0][1]))
    if not any(piece.phase for prepared in done for piece in prepared.segments):
        raise UserError(
            f"nothing came of {', '.join(map(str, args.videos))}: the lines above say why"
        )
    print(f"see {args.to / 'index.html'}, then train:\n{format_train_command(args.to, jobs[0][1])}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
