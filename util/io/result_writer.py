"""Writing of synthesized sequences: images and videos under the published names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

# Published names of the streams: condition, generated image, real image.
_STREAM_TITLES = {"real_A": "condition", "fake_B": "generated", "real_B": "real"}


def get_image_suffixes(has_labels: bool) -> dict[str, str]:
    """Return the file suffix of each stream's images. Label maps stay exact as PNG."""
    return {"real_A": ".png" if has_labels else ".jpg", "fake_B": ".jpg", "real_B": ".jpg"}


@dataclass
class OutputVideo:
    """One video of all sequences (`--output`).

    Attributes:
        path: an mp4 file; "-" for raw rgb24 frames on standard output; None: nothing is written.
        fps: frames per second.
        size: (width, height) of a stream's frames; None for the images' size.
        audio_track: audio to copy into the video.
        is_side_by_side: all streams next to each other instead of the generated images alone.
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

    def write(self, images: Mapping[str, np.ndarray]) -> None:
        """Write the next frame, from the (H, W, 3) uint8 image of each stream."""
        if self.path is None:
            return
        height, width = images["fake_B"].shape[:2]
        size = self.size or (width, height)
        visible = list(images.values()) if self.is_side_by_side else [images["fake_B"]]
        frame = np.hstack([_resize_image(image, size) for image in visible])
        if self.path == "-":
            sys.stdout.buffer.write(frame.tobytes())
            sys.stdout.buffer.flush()
            return
        if self._video is None:
            self.size = size  # a video has one size: that of the first sequence
            frame_size = (frame.shape[1], frame.shape[0])
            writer = VideoWriter(Path(self.path), self.fps, frame_size, self.audio_track)
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
    """Writer of one sequence: images `{stream}_{FRAME}{suffix}` and a video `{stream}.mp4` per stream.

    Attributes:
        folder: where the files are written.
        fps: frames per second of the videos.
        suffixes: file suffix of each stream's images.
        paths_by_stream: the images written so far.
    """

    folder: Path
    fps: float | Fraction
    suffixes: Mapping[str, str]
    paths_by_stream: dict[str, list[Path]] = field(default_factory=dict)

    def __enter__(self) -> SequenceWriter:
        self._stack = ExitStack()
        self._videos: dict[str, VideoWriter] = {}
        return self

    def write(self, frame_name: str, images: Mapping[str, np.ndarray]) -> None:
        """Write one frame.

        Args:
            frame_name: stem of the condition's file.
            images: (H, W, 3) uint8 of each stream.
        """
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
        """Return the written files for the results page."""
        streams = [
            ResultStream(_STREAM_TITLES[stream], paths, self.folder / f"{stream}.mp4")
            for stream, paths in self.paths_by_stream.items()
        ]
        return ResultSequence(name, streams)


@contextmanager
def open_sequence_writers(
    folders: Sequence[Path], fps: float | Fraction, suffixes: Mapping[str, str]
) -> Iterator[list[SequenceWriter]]:
    """Open a writer for each of several sequences that are written at the same time."""
    with ExitStack() as stack:
        yield [stack.enter_context(SequenceWriter(folder, fps, suffixes)) for folder in folders]


def write_frames(
    frames: Iterable[tuple[int, Clip, Tensor]],
    condition_to_image: Callable[[Tensor], np.ndarray],
    writers: Sequence[SequenceWriter],
    output: OutputVideo,
) -> None:
    """Write frames while the next ones are generated: a thread copies, encodes and writes them.

    Args:
        frames: index of the writer, clip with B = T = 1, generated image (1, 3, H, W) in [-1, 1].
        condition_to_image: converts a condition (C, H, W) to an (H, W, 3) uint8 image.
        writers: one per sequence.
        output: the video of all sequences.
    """
    with background_queue() as submit:
        for index, clip, image in frames:
            fake = tensor_to_uint8(image[0])
            submit(_write_frame, clip, fake, condition_to_image, writers[index], output)


def _write_frame(
    clip: Clip,
    fake: Tensor,
    condition_to_image: Callable[[Tensor], np.ndarray],
    writer: SequenceWriter,
    output: OutputVideo,
) -> None:
    """Write one frame; `fake` is (H, W, 3) uint8."""
    images = {"real_A": condition_to_image(clip.condition[0, 0]), "fake_B": fake.cpu().numpy()}
    if clip.image is not None:
        images["real_B"] = tensor_to_image(clip.image[0, 0])
    output.write(images)
    writer.write(Path(clip.names[0][0]).name, images)
