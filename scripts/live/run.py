"""Live synthesis from a camera or a video.

python scripts/live/run.py --run checkpoints/NAME --dataroot datasets/NAME --source 0
"""

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
from options.build_inference import load_synthesizer
from options.from_checkpoint import load_run_options
from scripts.live.mjpeg import MjpegServer
from scripts.live.tk_window import TkWindow
from util.clip import Clip
from util.errors import UserError, exit_on_user_error
from util.images.visualization import tensor_to_image

_FRAMES_PER_REPORT = 25


class Capture:
    """Frames (H, W, 3), uint8 RGB, of a camera or of a video.

    Attributes:
        last_read_time: when the newest frame was read, by `time.perf_counter`.
    """

    def __init__(self, source: str, width: int | None) -> None:
        """Open the source.

        Args:
            source: number of a camera, or path of a video.
            width: of the frames, after resizing; None: as they are.

        Raises:
            UserError: the source cannot be opened.
        """
        self._capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        self._width = width
        self.last_read_time = 0.0
        if not self._capture.isOpened():
            raise UserError(
                f"--source {source} is neither a camera that opens nor a video: cameras are numbered from 0"
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while True:
                is_read, bgr = self._capture.read()
                if not is_read:
                    return
                self.last_read_time = time.perf_counter()
                frame = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
                yield frame if self._width is None else resize_to_width(frame, self._width)
        finally:
            self._capture.release()


def generate_side_by_side(
    clips: Iterable[Clip], synthesizer: Synthesizer, frame_reader: FrameReader
) -> Iterator[np.ndarray]:
    """Yield condition and image side by side, (H, 2 W, 3) uint8, from the n_frames_G-th frame on."""
    for clip, image in synthesizer.synthesize(clips):
        condition_image = frame_reader.condition_to_image(clip.condition[0, 0])
        yield np.hstack([condition_image, tensor_to_image(image[0])])


def format_speed(latencies: list[float], elapsed: float) -> str:
    """Format speed and latency.

    Args:
        latencies: seconds from reading a frame to showing its image.
        elapsed: seconds of all these frames.
    """
    median_ms = 1000 * float(np.median(latencies))
    largest_ms = 1000 * max(latencies)
    return (
        f"{len(latencies) / elapsed:.1f} frames a second, "
        f"latency {median_ms:.0f} ms (largest {largest_ms:.0f} ms)"
    )


def display_frames(
    frames: Iterable[np.ndarray], capture: Capture, display: MjpegServer | TkWindow
) -> None:
    """Show all frames, and print the speed every few frames and at the end."""
    latencies: list[float] = []
    start_time = time.perf_counter()
    for frame in frames:
        display.show(frame)
        latencies.append(time.perf_counter() - capture.last_read_time)
        if len(latencies) == _FRAMES_PER_REPORT:
            print(format_speed(latencies, time.perf_counter() - start_time), flush=True)
            latencies = []
            start_time = time.perf_counter()
        if display.is_closed:
            break
    if latencies:
        print(format_speed(latencies, time.perf_counter() - start_time))


def build_live_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags; others are those of test.py."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the run: checkpoints/NAME"
    )
    parser.add_argument(
        "--dataroot",
        type=Path,
        required=True,
        help="data set of the run, written by prepare.py",
    )
    parser.add_argument("--source", default="0", help="number of a camera, or a video")
    parser.add_argument(
        "--window", action="store_true", help="show a window instead of a page on localhost"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="port of the page on localhost; 0: any free port"
    )
    parser.add_argument("--frames", type=int, help="stop after this many frames")
    return parser


def main() -> None:
    """Show live synthesis until the source ends or the user stops it."""
    args, test_flags = build_live_parser().parse_known_args()
    opt = load_run_options(args.run, *test_flags)
    prepare_config = PrepareConfig.load(args.dataroot)
    synthesizer = load_synthesizer(opt)
    frame_reader = configs.build_frame_reader(opt)
    capture = Capture(args.source, prepare_config.video_config.width)
    clips = stream_clips(
        capture, frame_reader, prepare_config.extractor, configs.transform_config(opt)
    )
    frames = islice(generate_side_by_side(clips, synthesizer, frame_reader), args.frames)
    with TkWindow(str(args.run)) if args.window else MjpegServer(args.port) as display:
        print(f"{display.location_hint} (Ctrl-C ends)", flush=True)
        with suppress(KeyboardInterrupt):
            display_frames(frames, capture, display)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
