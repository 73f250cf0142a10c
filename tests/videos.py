"""Small videos as people have them."""

from fractions import Fraction

import av
import cv2
import numpy as np

from util.io.video import VideoWriter


def make_moving_square(n_frames, hue=30, size=(48, 64)):
    """A bright square that moves over a background of one hue."""
    frames = []
    for number in range(n_frames):
        hsv = np.full((*size, 3), (hue, 160, 120), np.uint8)
        hsv[10:26, 2 * number % 40 : 2 * number % 40 + 16] = (hue, 40, 250)
        frames.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return frames


def write_test_video(path, frames, fps=25):
    with VideoWriter(path, fps, (frames[0].shape[1], frames[0].shape[0])) as video:
        for frame in frames:
            video.write(frame)
    return path


def encode_test_video(
    path,
    frames,
    timestamps_ms=None,
    pix_fmt="yuv420p",
    codec="libx264",
    rotation=0,
    has_audio=False,
):
    """What VideoWriter never writes: other formats, uneven times (ms), a rotation, a sound track."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=16000, layout="mono") if has_audio else None
        for number, frame in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            shown.pts, shown.time_base = (
                timestamps_ms[number] if timestamps_ms else 40 * number,
                Fraction(1, 1000),
            )
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
        if sound is not None:
            tone = np.zeros((1, 16000 * len(frames) // 25), np.int16)
            heard = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            heard.sample_rate = 16000
            container.mux(sound.encode(heard))
            container.mux(sound.encode())
    return path
