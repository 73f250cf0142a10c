"""A camera or a video, live: `python scripts/live.py --run checkpoints/NAME --dataroot datasets/NAME --source 0`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from data.domain import Domain
from data.live import live_clips
from data.prepare.dataset import resized
from data.prepare.recipe import Recipe
from models.synthesizer import Synthesizer
from options import configs
from options.loading import load_synthesizer, run_options
from util.clip import Clip
from util.errors import UserError, reported
from util.mjpeg import MjpegServer
from util.pictures import to_uint8
from util.window import Window

EVERY = 25  # frames between two lines about speed


class Capture:
    """Pictures (H, W, 3) uint8 RGB of a camera, by its number, or of a video. UserError: it cannot be opened.

    read_at: when the newest was read, by `time.perf_counter`."""

    def __init__(self, source: str, width: int | None) -> None:
        self._capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        self._width, self.read_at = width, 0.0
        if not self._capture.isOpened():
            raise UserError(f"--source {source}: neither a camera that opens nor a video; cameras are numbered from 0")

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while (read := self._capture.read())[0]:
                self.read_at = time.perf_counter()
                frame = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
                yield frame if self._width is None else resized(frame, self._width)
        finally:
            self._capture.release()


def painted(clips: Iterable[Clip], painter: Synthesizer, domain: Domain) -> Iterator[np.ndarray]:
    """Condition and picture side by side, (H, 2 W, 3) uint8, from the tG-th frame on."""
    for clip in clips:
        picture = painter.step_clip(clip)
        if picture is not None:
            yield np.hstack([domain.show(clip.condition[0, 0]), to_uint8(picture[0])])


def speed(latencies: list[float], seconds: float) -> str:
    """latencies: seconds from a frame's reading to its picture."""
    return (f"{len(latencies) / seconds:.1f} frames a second, latency {1000 * float(np.median(latencies)):.0f} ms "
            f"(largest {1000 * max(latencies):.0f} ms)")


def show(frames: Iterable[np.ndarray], capture: Capture, screen: MjpegServer | Window) -> None:
    """All of them, with a line about speed now and then and at the end."""
    latencies: list[float] = []
    since = time.perf_counter()
    for frame in frames:
        screen.show(frame)
        latencies.append(time.perf_counter() - capture.read_at)
        if len(latencies) == EVERY:
            print(speed(latencies, time.perf_counter() - since), flush=True)
            latencies, since = [], time.perf_counter()
        if screen.closed:
            break
    if latencies:
        print(speed(latencies, time.perf_counter() - since))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="checkpoints/NAME")
    parser.add_argument("--dataroot", type=Path, required=True, help="the data set it was trained on, by prepare.py")
    parser.add_argument("--source", default="0", help="a camera's number, or a video")
    parser.add_argument("--window", action="store_true", help="show it in a window, not as a page on localhost")
    parser.add_argument("--port", type=int, default=8080, help="of the page on localhost; 0: any that is free")
    parser.add_argument("--frames", type=int, help="stop after so many")
    args, flags = parser.parse_known_args()

    options, recipe = run_options(args.run, *flags), Recipe.load(args.dataroot)
    painter, domain = load_synthesizer(options), configs.domain(options)
    capture = Capture(args.source, recipe.how.width)
    clips = live_clips(capture, domain, recipe.maker, configs.geometry(options))
    with Window(str(args.run)) if args.window else MjpegServer(args.port) as screen:
        print(f"{screen.where} (Ctrl-C ends)", flush=True)
        with suppress(KeyboardInterrupt):
            show(islice(painted(clips, painter, domain), args.frames), capture, screen)


if __name__ == "__main__":
    with reported():
        main()
