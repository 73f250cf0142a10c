"""A camera or a video, live: `python scripts/live.py --run checkpoints/NAME --dataroot datasets/NAME --source 0`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data.live import live_clips
from data.prepare.dataset import resized
from data.prepare.recipe import Recipe
from options import configs
from options.loading import load_synthesizer, run_options
from util.errors import UserError, reported
from util.mjpeg import MjpegServer
from util.pictures import to_uint8

EVERY = 25  # frames between two lines about speed


def captured(source: str, width: int | None) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB of a camera, by its number, or of a video. UserError: it cannot be opened."""
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        raise UserError(f"--source {source}: neither a camera that opens nor a video; cameras are numbered from 0")
    try:
        while (read := capture.read())[0]:
            frame = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            yield frame if width is None else resized(frame, width)
    finally:
        capture.release()


def speed(latencies: list[float], seconds: float) -> str:
    """latencies: seconds from a frame's condition to its picture."""
    return (f"{len(latencies) / seconds:.1f} frames a second, latency {1000 * float(np.median(latencies)):.0f} ms "
            f"(largest {1000 * max(latencies):.0f} ms)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="checkpoints/NAME")
    parser.add_argument("--dataroot", type=Path, required=True, help="the data set it was trained on, by prepare.py")
    parser.add_argument("--source", default="0", help="a camera's number, or a video")
    parser.add_argument("--port", type=int, default=8080, help="of the page on localhost")
    parser.add_argument("--frames", type=int, help="stop after so many")
    args, flags = parser.parse_known_args()

    options, recipe = run_options(args.run, *flags), Recipe.load(args.dataroot)
    painter, domain = load_synthesizer(options), configs.domain(options)
    clips = live_clips(captured(args.source, recipe.how.width), domain, recipe.maker, configs.geometry(options))
    latencies: list[float] = []
    with MjpegServer(args.port) as page:
        print(f"open {page.address} (Ctrl-C ends)")
        since = time.perf_counter()
        for number, clip in enumerate(clips, 1):
            began = time.perf_counter()
            picture = painter.step_clip(clip)
            if picture is not None:
                shown = to_uint8(picture[0])
                latencies.append(time.perf_counter() - began)
                page.show(np.hstack([domain.show(clip.condition[0, 0]), shown]))
            if latencies and (number % EVERY == 0 or number == args.frames):
                print(speed(latencies, time.perf_counter() - since))
                latencies, since = [], time.perf_counter()
            if number == args.frames:
                break


if __name__ == "__main__":
    with reported():
        main()
