"""A data set from your own videos: `python scripts/prepare.py ride.mp4 --to datasets/ride --mode edges`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data.prepare.bodies import Bodies
from data.prepare.dataset import Preparation, Prepared, prepare_video
from data.prepare.faces import Landmarks
from data.prepare.labels import CITYSCAPES_THINGS, Labels
from data.prepare.makers import Edges, Maker, OpenPose
from data.prepare.page import train_line, write_page
from data.prepare.recipe import MAKERS, Recipe
from util.errors import UserError, reported

MakerOf = Callable[[Path], Maker]  # a video's: masks and keypoints lie in a folder of its name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--to", type=Path, required=True, metavar="DATASET", help="the data root to write")
    parser.add_argument("--mode", choices=MAKERS, required=True)
    parser.add_argument("--fps", type=float, help="frames a second; default: the video's own")
    parser.add_argument("--width", type=int, help="of the frames in pixels; default: the video's own")
    parser.add_argument("--test_share", type=float, default=0.2, help="of every shot, its end, held out")
    parser.add_argument("--shortest", type=int, default=8, help="frames that a sequence has at least")
    parser.add_argument("--edges", choices=["soft", "canny"], default="soft", help="edges: their kind")
    parser.add_argument("--upsample", type=int, default=1, help="face: times the picture is doubled to find small ones")
    parser.add_argument("--keypoints", type=Path, metavar="FOLDER",
                        help="pose: OpenPose's JSON files, in a folder for each video's name; default: MediaPipe's "
                             "networks find the largest person")
    parser.add_argument("--segmenter", type=Path, metavar="ONNX", help="street, labels: the network that labels")
    parser.add_argument("--masks", type=Path, help="street, labels: in its stead masks, a folder for each video's name")
    parser.add_argument("--label_nc", type=int, help="labels: how many; street has 35")
    parser.add_argument("--things", default="", metavar="IDS", help="labels: those whose parts are instances, as 1,3")
    parser.add_argument("--workers", type=int, default=1, help="videos at a time")
    return parser


def _maker_of(args: argparse.Namespace) -> MakerOf:
    """UserError names the flag that the mode lacks."""
    if args.mode == "edges":
        return lambda _: Edges(args.edges)
    if args.mode == "face":
        return lambda _: Landmarks(args.upsample)
    if args.mode == "pose":
        return lambda video: OpenPose(args.keypoints / video.stem) if args.keypoints else Bodies()
    if args.mode == "labels" and args.label_nc is None:
        raise UserError("--mode labels needs --label_nc: how many labels there are")
    if (args.segmenter is None) == (args.masks is None):
        raise UserError(f"--mode {args.mode} needs --segmenter ONNX or --masks FOLDER, one of them")
    street = args.mode == "street"
    things = CITYSCAPES_THINGS if street else tuple(int(part) for part in args.things.split(",") if part)
    label_nc = 35 if street else args.label_nc
    return lambda video: Labels(args.segmenter or args.masks / video.stem, label_nc, things, street)


def _prepare(job: tuple[Path, Maker], root: Path, how: Preparation) -> Prepared:
    """A video that cannot be read is left out, with the reason; the others go on."""
    video, maker = job
    try:
        return prepare_video(video, root, maker, how)
    except UserError as fault:
        return Prepared(str(video), 0.0, (), (str(fault),))


def _prepare_all(jobs: list[tuple[Path, Maker]], root: Path, how: Preparation, workers: int) -> Iterator[Prepared]:
    work = partial(_prepare, root=root, how=how)
    if workers == 1:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(work, jobs)


def main() -> None:
    args = _parser().parse_args()
    for stem, count in Counter(video.stem for video in args.videos).items():
        if count > 1:
            raise UserError(f"{count} videos are called {stem}: their sequences would be too; rename them")
    maker_of = _maker_of(args)
    how = Preparation(args.fps, args.width, args.test_share, args.shortest)
    jobs = [(video, maker_of(video)) for video in args.videos]
    Recipe(args.mode, jobs[0][1], how).save(args.to)
    done = list(tqdm(_prepare_all(jobs, args.to, how, args.workers), "videos", len(jobs)))
    print(write_page(args.to, done, jobs[0][1]))
    if not any(piece.phase for prepared in done for piece in prepared.pieces):
        raise UserError(f"nothing came of {', '.join(map(str, args.videos))}: the lines above say why")
    print(f"see {args.to / 'index.html'}, then train:\n{train_line(args.to, jobs[0][1])}")


if __name__ == "__main__":
    with reported():
        main()
