"""How a data set was prepared, kept beside it, so that a new video can be brought to a trained network the same way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from data.frame_sources import FrameSource
from data.prepare.extractors.edges import ConditionExtractor, EdgeExtractor, OpenPoseFileExtractor
from data.prepare.extractors.labels import LabelMapExtractor
from data.prepare.extractors.landmarks import LandmarkExtractor
from data.prepare.extractors.pose import PoseExtractor
from data.prepare.split import Segment
from data.prepare.video import VideoConfig, resize_to_width, write_segment, yield_until_decode_error
from util.errors import UserError
from util.io.atomic import atomic_write
from util.io.file_keys import from_file_keys, to_file_keys

EXTRACTORS: dict[str, type] = {
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
    """mode: of `scripts/prepare.py`."""

    mode: str
    extractor: ConditionExtractor
    video_config: VideoConfig

    def save(self, root: Path) -> None:
        with atomic_write(root / PREPARE_CONFIG_FILE) as temporary:
            temporary.write_text(
                json.dumps(
                    {
                        "mode": self.mode,
                        "maker": to_file_keys(asdict(self.extractor), _EXTRACTOR_FILE_KEYS),  # type: ignore[call-overload]
                        "how": to_file_keys(asdict(self.video_config), _VIDEO_FILE_KEYS),
                    },
                    default=str,
                    indent=1,
                )
            )

    @staticmethod
    def load(root: Path) -> PrepareConfig:
        """UserError where the data set was not made by `scripts/prepare.py`."""
        path = root / PREPARE_CONFIG_FILE
        if not path.is_file():
            raise UserError(
                f"{path} is not there: --input needs a --dataroot that scripts/prepare.py has made, to do "
                "with the video what was done there"
            )
        saved = json.loads(path.read_text())
        return PrepareConfig(
            saved["mode"],
            _build_extractor(saved["mode"], from_file_keys(saved["maker"], _EXTRACTOR_FILE_KEYS)),
            VideoConfig(**from_file_keys(saved["how"], _VIDEO_FILE_KEYS)),
        )


def _build_extractor(mode: str, settings: dict[str, Any]) -> ConditionExtractor:
    for key in {"folder", "source"} & set(settings):
        settings[key] = Path(settings[key])
    if "thing_ids" in settings:
        settings["thing_ids"] = tuple(settings["thing_ids"])
    return (OpenPoseFileExtractor if "folder" in settings else EXTRACTORS[mode])(**settings)


def prepare_input(
    frame_source: FrameSource,
    root: Path,
    config: PrepareConfig,
    start: int = 0,
    count: float = float("inf"),
) -> list[str]:
    """A video's frames from `start` on, at most `count`, as the one sequence of `root`'s test phase. Returns what was
    wrong with it: one that breaks off is used up to there.

    UserError: nothing can be made of it, or the recipe's conditions are files that belong to another video."""
    for path in (getattr(config.extractor, key, None) for key in ("folder", "source")):
        if path is not None and path.is_dir():
            raise UserError(
                f"the conditions of this data set came from {path}: for {frame_source.path} prepare its own "
                "with scripts/prepare.py and give that as --dataroot"
            )
    stop = None if count == float("inf") else start + int(count)
    notes: list[str] = []
    frames = (
        image
        if config.video_config.width is None
        else resize_to_width(image, config.video_config.width)
        for image in islice(
            yield_until_decode_error(frame_source.iter_frames(), notes), start, stop
        )
    )
    written = write_segment(
        Segment(frame_source.name, start, stop or start, "test"), frames, root, config.extractor
    )
    if written.reason:
        raise UserError(
            f"{frame_source.path}: {written.reason}; give another video, or other seconds of it"
        )
    return [f"{frame_source.path} {note}" for note in notes]
