"""Small videos in the formats that users have."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from util.io.video import VideoWriter

_SAMPLE_RATE = 16000
_FPS = 25


def make_moving_square(
    n_frames: int, hue: int = 30, size: tuple[int, int] = (48, 64)
) -> list[np.ndarray]:
    """Return frames of `size` (height, width): a bright square moves over a background of one hue."""
    frames = []
    for i in range(n_frames):
        x = 2 * i % 40
        hsv = np.full((*size, 3), (hue, 160, 120), np.uint8)
        hsv[10:26, x : x + 16] = (hue, 40, 250)
        frames.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return frames


def write_test_video(path: Path, frames: Sequence[np.ndarray], fps: float = _FPS) -> Path:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, fps, (width, height)) as video:
        for frame in frames:
            video.write(frame)
    return path


def encode_test_video(
    path: Path,
    frames: Sequence[np.ndarray],
    timestamps_ms: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    rotation: int = 0,
    has_audio: bool = False,
) -> Path:
    """Write a video that VideoWriter cannot: other formats, uneven timestamps, rotation, audio."""
    if timestamps_ms is None:
        timestamps_ms = range(0, 1000 * len(frames) // _FPS, 1000 // _FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=_FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        audio = None
        if has_audio:
            audio = container.add_stream("aac", rate=_SAMPLE_RATE, layout="mono")
        for frame, timestamp in zip(frames, timestamps_ms, strict=False):
            image = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            image.pts = timestamp
            image.time_base = Fraction(1, 1000)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
        if audio is not None:
            silence = np.zeros((1, _SAMPLE_RATE * len(frames) // _FPS), np.int16)
            samples = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            samples.sample_rate = _SAMPLE_RATE
            container.mux(audio.encode(samples))
            container.mux(audio.encode())
    return path
