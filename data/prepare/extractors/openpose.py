"""Body poses from OpenPose's keypoint files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.prepare.extractors.base import ExtractorOutput, SkipSequence


@dataclass(frozen=True)
class OpenPoseFileExtractor:
    """Copies the keypoint files that OpenPose wrote for a video.

    Attributes:
        folder: Holds one JSON file per frame of the video; their sorted names are in frame order.
        image_folder: Stream name of the real images.
    """

    folder: Path
    image_folder: str = "img"

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"openpose": "_keypoints.json"}

    def format_train_flags(self) -> str:
        return "--dataset_mode pose --openpose_only --input_nc 3"

    def __call__(self, images: Iterable[np.ndarray], start: int) -> Iterator[ExtractorOutput]:
        paths = sorted(self.folder.glob("*.json"))
        for index, _ in enumerate(images, start):
            if index >= len(paths):
                raise SkipSequence(
                    f"{self.folder} holds {len(paths)} JSON files, frame {index} has none"
                )
            yield {"openpose": paths[index].read_text(encoding="utf-8")}
