"""H.264 video, written so that browsers play it, and read back frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from util.errors import UserError
from util.files import replacing

BT709 = 1  # code of colour primaries, transfer and matrix in the stream: said, since players guess by the size


class VideoWriter:
    """Frames to an mp4 that is there whole after the `with` block, and not at all when the block fails.

    yuv420p is what every browser plays and needs even sides: an odd side is padded by repeating its last line.
    fps: frames a second; size: (width, height) of the frames that `write` gets.
    """

    def __init__(self, path: Path, fps: float | Fraction, size: tuple[int, int]) -> None:
        self.path, self.size = path, size
        self.fps = Fraction(fps).limit_denominator(1001)  # exact for whole rates and for NTSC's n/1001

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._container = stack.enter_context(av.open(str(temporary), "w", options={"movflags": "faststart"}))
            self._stream = self._add_stream()
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray) -> None:
        """(H, W, 3) uint8 RGB of the writer's size."""
        width, height = self.size
        assert frame.shape == (height, width, 3) and frame.dtype == np.uint8, (frame.shape, frame.dtype, self.size)
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709)
        self._container.mux(self._stream.encode(picture))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        with self._stack:  # unwinds with whatever leaves this block: file closed, then renamed or removed
            if error is not None:
                raise error
            self._container.mux(self._stream.encode())

    def _add_stream(self) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self.fps, options={"crf": "18"})
        stream.width, stream.height = (side + side % 2 for side in self.size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        return stream


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Every frame of a video's first picture stream as (H, W, 3) uint8 RGB; UserError when it cannot be decoded."""
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, IndexError) as error:  # IndexError: a file without any picture stream
        raise UserError(f"{path}: not a video that can be decoded ({error}); give a file that plays") from error
