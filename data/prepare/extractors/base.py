"""The interface of a condition extractor, and its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np

FileContent = np.ndarray | str  # an image or map for a PNG file, or the text of a text file
ExtractorOutput = Mapping[str, FileContent]  # by stream name: A, inst, keypoints, openpose


class SkipSequence(Exception):
    """No condition can be extracted for this sequence: it is skipped, and the report gives the message."""


class ConditionExtractor(Protocol):
    """Turns the images of a sequence into the conditions that the network learns to invert.

    Implementations are frozen dataclasses: their fields are the settings of the mode and are saved in `prepare.json`.
    """

    @property
    def image_folder(self) -> str:
        """Return the stream name under which `train.py` looks for the real images: B or img."""
        ...

    @property
    def suffixes(self) -> Mapping[str, str]:
        """Map each stream that the extractor writes to its file suffix; the report shows the first one."""
        ...

    def format_train_flags(self) -> str:
        """Return the flags with which `train.py` reads this data set."""
        ...

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        """Yield the conditions of each image.

        Args:
            images: Frames of one sequence, (H, W, 3) uint8 RGB.
            start: Index of the first frame in its video.

        Raises:
            SkipSequence: The sequence has no usable condition.
            UserError: The settings do not fit the video.
        """
        ...
