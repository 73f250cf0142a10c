"""What synthesis leaves of a sequence: images and videos in the published places (SPEC 10)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from torch import Tensor

from util.clip import Clip
from util.images.visualization import save_image, tensor_to_image, tensor_to_uint8
from util.io.video import AudioTrack, VideoWriter
from util.pages.results import ResultSequence, ResultStream
from util.runtime.prefetch import background_queue

_STREAM_TITLES = {"real_A": "condition", "fake_B": "generated", "real_B": "real"}


@dataclass
class OutputVideo:
    """One video over all sequences: `--output`. path: an mp4; `-` for raw rgb24 frames on standard output; None: nobody
    asked. size: (w, h) of its frames, None for the images' own. side_by_side: all streams, not the generated alone.
    """

    path: str | None
    fps: float | Fraction
    size: tuple[int, int] | None = None
    audio_track: AudioTrack | None = None
    is_side_by_side: bool = False

    def __enter__(self) -> OutputVideo:
        self._stack = ExitStack()
        self._video: VideoWriter | None = None
        return self

    def write(self, images: dict[str, np.ndarray]) -> None:
        """images: stream -> (H, W, 3) uint8, as `SequenceWriter` takes them."""
        if self.path is None:
            return
        height, width = images["fake_B"].shape[:2]
        shown = list(images.values()) if self.is_side_by_side else [images["fake_B"]]
        frame = np.hstack([_resize_image(image, self.size or (width, height)) for image in shown])
        if self.path == "-":
            sys.stdout.buffer.write(frame.tobytes())
            sys.stdout.buffer.flush()
            return
        if self._video is None:
            self.size = self.size or (width, height)  # of the first sequence: a video has one
            writer = VideoWriter(
                Path(self.path), self.fps, (frame.shape[1], frame.shape[0]), self.audio_track
            )
            self._video = self._stack.enter_context(writer)
        self._video.write(frame)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(exc_type, exc_value, traceback)


def _resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


@dataclass
class SequenceWriter:
    """`folder`/{stream}_{FRAME}{suffix} and `folder`/{stream}.mp4 for each stream that `write` is given.

    suffixes: of each stream's images; `.png` keeps label maps exact.
    """

    folder: Path
    fps: float | Fraction
    suffixes: dict[str, str]
    paths_by_stream: dict[str, list[Path]] = field(default_factory=dict)

    def __enter__(self) -> SequenceWriter:
        self._stack = ExitStack()
        self._videos: dict[str, VideoWriter] = {}
        return self

    def write(self, frame_name: str, images: dict[str, np.ndarray]) -> None:
        """frame: the condition file's stem. images: stream -> (H, W, 3) uint8."""
        for stream, image in images.items():
            if stream not in self._videos:
                height, width = image.shape[:2]
                writer = VideoWriter(self.folder / f"{stream}.mp4", self.fps, (width, height))
                self._videos[stream] = self._stack.enter_context(writer)
            path = self.folder / f"{stream}_{frame_name}{self.suffixes[stream]}"
            save_image(path, image)
            self._videos[stream].write(image)
            self.paths_by_stream.setdefault(stream, []).append(path)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(exc_type, exc_value, traceback)

    def result_sequence(self, name: str) -> ResultSequence:
        """For the page: condition, generated and real side by side."""
        return ResultSequence(
            name,
            [
                ResultStream(_STREAM_TITLES[stream], paths, self.folder / f"{stream}.mp4")
                for stream, paths in self.paths_by_stream.items()
            ],
        )


@contextmanager
def open_sequence_writers(
    folders: Sequence[Path], fps: float | Fraction, suffixes: dict[str, str]
) -> Iterator[list[SequenceWriter]]:
    """Of sequences that are written at the same time."""
    with ExitStack() as stack:
        yield [stack.enter_context(SequenceWriter(folder, fps, suffixes)) for folder in folders]


def write_frames(
    frames: Iterable[tuple[int, Clip, Tensor]],
    condition_to_image: Callable[[Tensor], np.ndarray],
    writers: Sequence[SequenceWriter],
    output: OutputVideo,
) -> None:
    """Frames (B = T = 1) and their images (1, 3, H, W), each with the number of its sequence's writer, fetched from
    the device, encoded and written by a thread while the next ones are made. show: a condition (C, H, W) as people see
    it."""
    with background_queue() as later:
        for number, clip, image in frames:
            later(
                _write_frame,
                clip,
                tensor_to_uint8(image[0]),
                condition_to_image,
                writers[number],
                output,
            )


def _write_frame(
    clip: Clip,
    fake_image: Tensor,
    condition_to_image: Callable[[Tensor], np.ndarray],
    writer: SequenceWriter,
    output: OutputVideo,
) -> None:
    """generated: (H, W, 3) uint8."""
    shown = {"real_A": condition_to_image(clip.condition[0, 0]), "fake_B": fake_image.cpu().numpy()}
    if clip.image is not None:
        shown["real_B"] = tensor_to_image(clip.image[0, 0])
    output.write(shown)
    writer.write(Path(clip.names[0][0]).name, shown)
