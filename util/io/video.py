"""Video files: H.264 writing for browsers, probing, and decoding frame by frame."""

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

_TIME_TOLERANCE = 0.25  # of a frame's duration
# Code of the BT.709 primaries, transfer function and matrix. Without it in the stream, players
# guess the color space from the image size.
_BT709 = 1
_DEFAULT_FPS = Fraction(25)  # of files that do not state a rate


@dataclass(frozen=True)
class AudioTrack:
    """The audio track of a file.

    Attributes:
        path: File with audio.
        start: Time in seconds from which the audio is used.
    """

    path: Path
    start: float = 0.0


class VideoWriter:
    """Writes an mp4 file, atomically: it exists after the `with` block, and not if the block fails.

    The pixel format is yuv420p, which every browser plays. It needs an even width and height: an
    odd side is padded by repeating its last row or column.
    """

    def __init__(
        self,
        path: Path,
        fps: float | Fraction,
        size: tuple[int, int],
        audio_track: AudioTrack | None = None,
    ) -> None:
        """Store the settings; the file is created by `__enter__`.

        Args:
            path: File to write.
            fps: Frames per second.
            size: (width, height) of the frames.
            audio_track: Audio, copied without re-encoding up to the end of the video. Entering the
                `with` block raises UserError if an mp4 cannot hold its codec.
        """
        self.path = path
        self.size = size
        self.audio_track = audio_track
        self.n_written = 0
        # Exact for integer rates and for NTSC's n/1001.
        self.fps = Fraction(fps).limit_denominator(1001)

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            self._container = stack.enter_context(
                av.open(str(temporary), "w", options={"movflags": "faststart"})
            )
            self._stream = self._add_video_stream()
            self._audio_input: tuple[InputContainer, AudioStream] | None = None
            if self.audio_track is not None:
                audio_input = stack.enter_context(_opened_container(self.audio_track.path))
                self._audio_input = audio_input, self._add_audio_stream(audio_input)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append a (H, W, 3) uint8 RGB frame of the writer's size."""
        width, height = self.size
        assert frame.shape == (height, width, 3), (frame.shape, self.size)
        assert frame.dtype == np.uint8, frame.dtype
        padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        image = av.VideoFrame.from_ndarray(padded, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709
        )
        self._container.mux(self._stream.encode(image))
        self.n_written += 1

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # An exception inside this block makes the stack discard the file, else it is renamed.
        with self._stack:
            if exc_value is not None:
                raise exc_value
            self._container.mux(self._stream.encode())
            if self._audio_input is not None and self.audio_track is not None:
                self._copy_audio(*self._audio_input, self.audio_track.start)

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
        except ValueError as error:
            raise UserError(
                f"{container.name}: an mp4 file cannot hold its audio ({error}): convert it to AAC"
            ) from error

    def _copy_audio(self, container: InputContainer, stream: AudioStream, start: float) -> None:
        """Copy the packets from `start` to the end of the video, shifted to begin at 0."""
        end = start + float(self.n_written / self.fps)
        for packet in container.demux(audio=0):
            if packet.pts is None or packet.dts is None:
                continue
            if not start <= packet.pts * packet.time_base < end:
                continue
            shift = round(start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            self._container.mux(packet)


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file.

    Attributes:
        size: (width, height) as displayed, after the rotation that the file states.
        fps: Frames per second; the mean of a variable rate.
        n_frames: Number of frames that the file states, 0 if it does not.
        has_audio: Whether the file has an audio track.
    """

    size: tuple[int, int]
    fps: Fraction
    n_frames: int
    has_audio: bool


def probe_video(path: Path) -> VideoInfo:
    """Return the properties of a video file, whose first frame is decoded.

    Raises:
        UserError: The file is not a video or has no frame.
    """
    with _opened_container(path) as container:
        stream = container.streams.video[0]
        first_frame = next(container.decode(stream), None)
        if first_frame is None:
            raise UserError(f"{path}: a video without a frame; give a file that plays")
        height, width = _apply_rotation(first_frame).shape[:2]
        fps = stream.average_rate or stream.guessed_rate or _DEFAULT_FPS
        return VideoInfo((width, height), fps, stream.frames, bool(container.streams.audio))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield every frame of a video as a (H, W, 3) uint8 RGB array.

    Raises:
        UserError: The file is not a video or cannot be decoded.
    """
    for _, frame in read_timed_frames(path):
        yield frame


def read_timed_frames(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Yield every frame as `read_frames` does, with its display time in seconds."""
    with _opened_container(path) as container:
        fps = container.streams.video[0].average_rate or _DEFAULT_FPS
        for index, frame in enumerate(container.decode(video=0)):
            time = float(index / fps) if frame.time is None else frame.time
            yield time, _apply_rotation(frame)


def resample_fps(
    frames: Iterable[tuple[float, np.ndarray]], fps: Fraction | float
) -> Iterator[np.ndarray]:
    """Resample timed frames to a constant rate by repeating and dropping frames.

    Yields the frame displayed at each multiple of 1/fps after the first frame's time.

    Args:
        frames: (display time in seconds, frame), in order of time.
        fps: Frames per second of the result.
    """
    tolerance = _TIME_TOLERANCE / fps  # some containers round times to milliseconds
    current: np.ndarray | None = None
    current_time = first_time = 0.0
    n_yielded = 0
    for time, frame in frames:
        if current is None:
            first_time = time
        while current is not None and first_time + n_yielded / fps < time - tolerance:
            yield current
            n_yielded += 1
        current, current_time = frame, time
    if current is not None and first_time + n_yielded / fps <= current_time + tolerance:
        yield current


def _apply_rotation(frame: av.VideoFrame) -> np.ndarray:
    """Decode to RGB and rotate by the file's display matrix: counter-clockwise, multiples of 90."""
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


@contextmanager
def _opened_container(path: Path) -> Iterator[InputContainer]:
    """Open a file with a video stream; raise UserError if it, or decoding inside, fails."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise UserError(f"{path}: a file without an image stream; give a video")
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(
            f"{path}: not a video that can be decoded to its end ({error}); give a file that plays"
        ) from error
