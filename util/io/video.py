"""H.264 video, written so that browsers play it, and read back frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from util.errors import UserError
from util.io.atomic import atomic_write

_TIME_TOLERANCE = 0.25  # of a frame's time
_BT709 = 1  # code of colour primaries, transfer and matrix in the stream: said, since players guess by the size


@dataclass(frozen=True)
class AudioTrack:
    """The sound track of a file, from a second on."""

    path: Path
    start: float = 0.0


class VideoWriter:
    """Frames to an mp4 that is there whole after the `with` block, and not at all when the block fails.

    yuv420p is what every browser plays and needs even sides: an odd side is padded by repeating its last line.
    fps: frames a second; size: (width, height) of the frames that `write` gets. sound: copied as it is, as far as the
    images go; UserError where an mp4 cannot hold it.
    """

    def __init__(
        self,
        path: Path,
        fps: float | Fraction,
        size: tuple[int, int],
        audio_track: AudioTrack | None = None,
    ) -> None:
        self.path, self.size, self.sound = path, size, audio_track
        self.n_written = 0
        self.fps = Fraction(fps).limit_denominator(
            1001
        )  # exact for whole rates and for NTSC's n/1001

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            self._container = stack.enter_context(
                av.open(str(temporary), "w", options={"movflags": "faststart"})
            )
            self._stream = self._add_video_stream()
            self._audio_input: tuple[InputContainer, AudioStream] | None = None
            if self.sound is not None:
                heard = stack.enter_context(_opened_container(self.sound.path))
                self._audio_input = heard, self._add_audio_stream(heard)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray) -> None:
        """(H, W, 3) uint8 RGB of the writer's size."""
        width, height = self.size
        assert frame.shape == (height, width, 3) and frame.dtype == np.uint8, (
            frame.shape,
            frame.dtype,
            self.size,
        )
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        image = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709
        )
        self._container.mux(self._stream.encode(image))
        self.n_written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with (
            self._stack
        ):  # unwinds with whatever leaves this block: file closed, then renamed or removed
            if error is not None:
                raise error
            self._container.mux(self._stream.encode())
            if self._audio_input is not None and self.sound is not None:
                self._copy_audio(*self._audio_input, self.sound.start)

    def _add_video_stream(self) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self.fps, options={"crf": "18"})
        stream.width, stream.height = (side + side % 2 for side in self.size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        return stream

    def _add_audio_stream(self, container: InputContainer) -> AudioStream:
        try:
            return self._container.add_stream_from_template(container.streams.audio[0])
        except ValueError as problem:
            raise UserError(
                f"{container.name}: an mp4 cannot hold its sound ({problem}): convert it to AAC"
            ) from problem

    def _copy_audio(self, container: InputContainer, stream: AudioStream, start: float) -> None:
        end = start + float(self.n_written / self.fps)
        for packet in container.demux(audio=0):
            if (
                packet.pts is None
                or packet.dts is None
                or not start <= packet.pts * packet.time_base < end
            ):
                continue
            shift = round(start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            self._container.mux(packet)


@dataclass(frozen=True)
class VideoInfo:
    """size: (width, height) as it is shown, turned if the file says so. rate: frames a second, the mean of a variable
    one. n_frames: as announced, 0 where the file does not say. has_audio: whether there is a sound track."""

    size: tuple[int, int]
    fps: Fraction
    n_frames: int
    has_audio: bool


def probe_video(path: Path) -> VideoInfo:
    """Decodes the first frame. UserError for what is not a video."""
    with _opened_container(path) as container:
        stream = container.streams.video[0]
        first = next(container.decode(stream), None)
        if first is None:
            raise UserError(f"{path}: a video without a frame; give a file that plays")
        height, width = _apply_rotation(first).shape[:2]
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return VideoInfo((width, height), rate, stream.frames, bool(container.streams.audio))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Every frame of a video's first image stream as (H, W, 3) uint8 RGB; UserError when it cannot be decoded."""
    for _, frame in read_timed_frames(path):
        yield frame


def read_timed_frames(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """The same with the second that each is shown at."""
    with _opened_container(path) as container:
        rate = container.streams.video[0].average_rate or Fraction(25)
        for number, frame in enumerate(container.decode(video=0)):
            yield float(number / rate) if frame.time is None else frame.time, _apply_rotation(frame)


def resample_fps(
    frames: Iterable[tuple[float, np.ndarray]], fps: Fraction | float
) -> Iterator[np.ndarray]:
    """What is shown at every 1/rate seconds: frames are repeated or left out, so that a variable rate becomes even."""
    held, shown, begin = None, 0, 0.0
    slack = _TIME_TOLERANCE / fps  # containers round their times, to a millisecond some of them
    for time, frame in frames:
        if held is None:
            begin = time
        while held is not None and begin + shown / fps < time - slack:
            yield held
            shown += 1
        held, last = frame, time
    if held is not None and begin + shown / fps <= last + slack:
        yield held


def _apply_rotation(frame: av.VideoFrame) -> np.ndarray:
    """Turned as the file's display matrix says: counter-clockwise, in quarters."""
    return np.ascontiguousarray(
        np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    )


@contextmanager
def _opened_container(path: Path) -> Iterator[InputContainer]:
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise UserError(f"{path}: a file without an image stream; give a video")
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(
            f"{path}: not a video that can be decoded to its end ({error}); give a file that plays"
        ) from error
