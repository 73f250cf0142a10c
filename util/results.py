"""What synthesis leaves of a sequence: pictures and videos in the published places (SPEC 10)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from util.pictures import save_picture
from util.video import VideoWriter
from util.web_page import ResultSequence, ResultStream

TITLES = {"real_A": "condition", "fake_B": "generated", "real_B": "real"}


@dataclass
class SequenceWriter:
    """`folder`/{stream}_{FRAME}{suffix} and `folder`/{stream}.mp4 for each stream that `write` is given.

    suffixes: of each stream's pictures; `.png` keeps label maps exact.
    """

    folder: Path
    fps: float
    suffixes: dict[str, str]
    written: dict[str, list[Path]] = field(default_factory=dict)

    def __enter__(self) -> SequenceWriter:
        self._stack = ExitStack()
        self._videos: dict[str, VideoWriter] = {}
        return self

    def write(self, frame: str, pictures: dict[str, np.ndarray]) -> None:
        """frame: the condition file's stem. pictures: stream -> (H, W, 3) uint8."""
        for stream, picture in pictures.items():
            if stream not in self._videos:
                height, width = picture.shape[:2]
                writer = VideoWriter(self.folder / f"{stream}.mp4", self.fps, (width, height))
                self._videos[stream] = self._stack.enter_context(writer)
            path = self.folder / f"{stream}_{frame}{self.suffixes[stream]}"
            save_picture(path, picture)
            self._videos[stream].write(picture)
            self.written.setdefault(stream, []).append(path)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def section(self, name: str) -> ResultSequence:
        """For the page: condition, generated and real side by side."""
        return ResultSequence(name, [ResultStream(TITLES[stream], paths, self.folder / f"{stream}.mp4")
                                     for stream, paths in self.written.items()])
