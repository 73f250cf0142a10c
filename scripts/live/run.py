"""A camera or a video, live: `python scripts/live/run.py --run checkpoints/NAME --dataroot datasets/NAME --source 0`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from data.frame_reader import FrameReader
from data.prepare.config import PrepareConfig
from data.prepare.video import resize_to_width
from data.streaming import stream_clips
from models.inference.synthesizer import Synthesizer
from options import configs
from options.from_checkpoint import load_run_options, load_synthesizer
from scripts.live.mjpeg import MjpegServer
from scripts.live.tk_window import TkWindow
from util.clip import Clip
from util.errors import UserError, exit_on_user_error
from util.images.visualization import tensor_to_image

_FRAMES_PER_REPORT = 25  # frames between two lines about speed


class Capture:
    """Images (H, W, 3) uint8 RGB of a camera, by its number, or of a video. UserError: it cannot be opened.

    read_at: when the newest was read, by `time.perf_counter`."""

    def __init__(self, source: str, width: int | None) -> None:
        self._capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        self._width, self.last_read_time = width, 0.0
        if not self._capture.isOpened():
            raise UserError(
                f"--source {source}: neither a camera that opens nor a video; cameras are numbered from 0"
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while (read := self._capture.read())[0]:
                self.last_read_time = time.perf_counter()
                frame = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
                yield frame if self._width is None else resize_to_width(frame, self._width)
        finally:
            self._capture.release()


def generate_side_by_side(
    clips: Iterable[Clip], synthesizer: Synthesizer, frame_reader: FrameReader
) -> Iterator[np.ndarray]:
    """Condition and image side by side, (H, 2 W, 3) uint8, from the tG-th frame on."""
    for clip in clips:
        image = synthesizer.generate_frame_from_clip(clip)
        if image is not None:
            yield np.hstack(
                [frame_reader.condition_to_image(clip.condition[0, 0]), tensor_to_image(image[0])]
            )


def format_speed(latencies: list[float], elapsed: float) -> str:
    """latencies: seconds from a frame's reading to its image."""
    return (
        f"{len(latencies) / elapsed:.1f} frames a second, latency {1000 * float(np.median(latencies)):.0f} ms "
        f"(largest {1000 * max(latencies):.0f} ms)"
    )


def display_frames(
    frames: Iterable[np.ndarray], capture: Capture, display: MjpegServer | TkWindow
) -> None:
    """All of them, with a line about speed now and then and at the end."""
    latencies: list[float] = []
    since = time.perf_counter()
    for frame in frames:
        display.show(frame)
        latencies.append(time.perf_counter() - capture.last_read_time)
        if len(latencies) == _FRAMES_PER_REPORT:
            print(format_speed(latencies, time.perf_counter() - since), flush=True)
            latencies, since = [], time.perf_counter()
        if display.is_closed:
            break
    if latencies:
        print(format_speed(latencies, time.perf_counter() - since))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="checkpoints/NAME")
    parser.add_argument(
        "--dataroot", type=Path, required=True, help="the data set it was trained on, by prepare.py"
    )
    parser.add_argument("--source", default="0", help="a camera's number, or a video")
    parser.add_argument(
        "--window", action="store_true", help="show it in a window, not as a page on localhost"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="of the page on localhost; 0: any that is free"
    )
    parser.add_argument("--frames", type=int, help="stop after so many")
    args, flags = parser.parse_known_args()

    options, recipe = load_run_options(args.run, *flags), PrepareConfig.load(args.dataroot)
    painter, domain = load_synthesizer(options), configs.build_frame_reader(options)
    capture = Capture(args.source, recipe.video_config.width)
    clips = stream_clips(capture, domain, recipe.extractor, configs.transform_config(options))
    with TkWindow(str(args.run)) if args.window else MjpegServer(args.port) as screen:
        print(f"{screen.location_hint} (Ctrl-C ends)", flush=True)
        with suppress(KeyboardInterrupt):
            display_frames(
                islice(generate_side_by_side(clips, painter, domain), args.frames), capture, screen
            )


if __name__ == "__main__":
    with exit_on_user_error():
        main()
