"""Settings of a prepared data set: saved in it, and applied to new videos at inference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data.frame_sources import FrameSource
from data.prepare.extractors.base import ConditionExtractor
from data.prepare.extractors.edges import EdgeExtractor
from data.prepare.extractors.labels import LabelMapExtractor
from data.prepare.extractors.landmarks import LandmarkExtractor
from data.prepare.extractors.openpose import OpenPoseFileExtractor
from data.prepare.extractors.pose import PoseExtractor
from data.prepare.split import Segment
from data.prepare.video import VideoConfig, resize_to_width, write_segment, yield_until_decode_error
from util.errors import UserError
from util.io.atomic import atomic_write
from util.io.file_keys import from_file_keys, to_file_keys

EXTRACTORS: dict[str, type] = {  # by --mode of scripts/prepare.py
    "edges": EdgeExtractor,
    "face": LandmarkExtractor,
    "pose": PoseExtractor,
    "street": LabelMapExtractor,
    "labels": LabelMapExtractor,
}
PREPARE_CONFIG_FILE = "prepare.json"
_EXTRACTOR_FILE_KEYS = {
    "image_folder": "picture_folder",
    "thing_ids": "things",
    "uses_cityscapes_train_ids": "cityscapes",
}
_VIDEO_FILE_KEYS = {"fps": "rate", "test_fraction": "test_share", "min_frames": "shortest"}


@dataclass(frozen=True)
class PrepareConfig:
    """Settings of a prepared data set.

    Attributes:
        mode: `--mode` of scripts/prepare.py.
        extractor: The condition extractor; of the first video, if each has its own.
        video_config: How videos were sampled and split.
    """

    mode: str
    extractor: ConditionExtractor
    video_config: VideoConfig

    def save(self, root: Path) -> None:
        """Write `{root}/prepare.json`."""
        extractor_fields = asdict(self.extractor)  # type: ignore[call-overload]
        content = {
            "mode": self.mode,
            "maker": to_file_keys(extractor_fields, _EXTRACTOR_FILE_KEYS),
            "how": to_file_keys(asdict(self.video_config), _VIDEO_FILE_KEYS),
        }
        with atomic_write(root / PREPARE_CONFIG_FILE) as temporary:
            temporary.write_text(json.dumps(content, default=str, indent=1))

    @staticmethod
    def load(root: Path) -> PrepareConfig:
        """Read `{root}/prepare.json`.

        Raises:
            UserError: The data set was not written by scripts/prepare.py.
        """
        path = root / PREPARE_CONFIG_FILE
        if not path.is_file():
            raise UserError(
                f"{path} does not exist: --input needs a --dataroot that was written by scripts/prepare.py, whose "
                "settings are applied to the input"
            )
        content = json.loads(path.read_text())
        extractor_fields = from_file_keys(content["maker"], _EXTRACTOR_FILE_KEYS)
        video_fields = from_file_keys(content["how"], _VIDEO_FILE_KEYS)
        return PrepareConfig(
            content["mode"],
            _build_extractor(content["mode"], extractor_fields),
            VideoConfig(**video_fields),
        )


def _build_extractor(mode: str, fields: dict[str, Any]) -> ConditionExtractor:
    """Rebuild an extractor from its fields as JSON has them."""
    for name in {"folder", "source"} & set(fields):
        fields[name] = Path(fields[name])
    if "thing_ids" in fields:
        fields["thing_ids"] = tuple(fields["thing_ids"])
    extractor_class = OpenPoseFileExtractor if "folder" in fields else EXTRACTORS[mode]
    return extractor_class(**fields)


def prepare_input(
    frame_source: FrameSource,
    root: Path,
    config: PrepareConfig,
    start: int = 0,
    count: float = float("inf"),
) -> list[str]:
    """Write frames of a video as the only sequence of the test phase of the data set at `root`.

    A damaged video is used up to its first unreadable frame.

    Args:
        frame_source: The video.
        root: Where to write.
        config: Settings of the data set that the network was trained on.
        start: Index of the first frame.
        count: Maximum number of frames.

    Returns:
        Problems of the video.

    Raises:
        UserError: The conditions cannot be extracted, or they are files that belong to another video.
    """
    _check_extractor_reads_no_files(config.extractor, frame_source)
    stop = None if count == float("inf") else start + int(count)
    notes: list[str] = []
    readable_frames = yield_until_decode_error(frame_source.iter_frames(), notes)
    frames: Iterator[np.ndarray] = islice(readable_frames, start, stop)
    width = config.video_config.width
    if width is not None:
        frames = (resize_to_width(image, width) for image in frames)
    segment = Segment(frame_source.name, start, stop or start, "test")
    written = write_segment(segment, frames, root, config.extractor)
    if written.reason:
        raise UserError(
            f"{frame_source.path}: {written.reason}; choose another video or other frames of it"
        )
    return [f"{frame_source.path} {note}" for note in notes]


def _check_extractor_reads_no_files(
    extractor: ConditionExtractor, frame_source: FrameSource
) -> None:
    for name in ("folder", "source"):
        path = getattr(extractor, name, None)
        if path is not None and path.is_dir():
            raise UserError(
                f"the conditions of this data set are files from {path}, which belong to another video: prepare "
                f"{frame_source.path} with scripts/prepare.py and use the result as --dataroot"
            )
