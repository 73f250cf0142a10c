"""One video to the folders of a data set: read, cut, split, made and written, in constant memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from data.prepare.extractors.edges import ConditionExtractor, FileContent, SkipSequence
from data.prepare.scene_cuts import detect_scene_cuts
from data.prepare.split import Segment, split_by_time
from util.errors import UserError
from util.io.atomic import atomic_write
from util.io.file_keys import from_file_keys, to_file_keys
from util.io.video import probe_video, read_timed_frames, resample_fps

_JPEG_OPTIONS: dict[str, Any] = {
    "quality": 95,
    "subsampling": 0,
}  # what compression leaves, the network would learn

_RECORD_FILE_KEYS = {"fps": "rate", "segments": "pieces"}  # of .prepared/*.json


@dataclass(frozen=True)
class VideoConfig:
    """rate: frames a second, None for the video's own. width: in pixels, None for its own; the height follows.
    test_share: of every shot, its end. shortest: frames that a sequence has at least."""

    fps: float | None = None
    width: int | None = None
    test_fraction: float = 0.2
    min_frames: int = 8


@dataclass(frozen=True)
class PrepareResult:
    """Of one video: its pieces, those left out among them, and what else there is to say."""

    video: str
    fps: float
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()


def prepare_video(
    video: Path, root: Path, extractor: ConditionExtractor, config: VideoConfig
) -> PrepareResult:
    """Writes the video's sequences under `root`, or finds that they are there already, made in the same way.

    A record in `root`/.prepared is written last: a run that was cut off does that video again. UserError: no video.
    """
    record, settings = (
        root / ".prepared" / f"{video.stem}.json",
        _format_config_key(video, extractor, config),
    )
    if (done := _read_record(record, settings)) is not None:
        return done
    rate = Fraction(config.fps or probe_video(video).fps).limit_denominator(1001)
    n_frames, cuts, notes = scan_video(video, rate, config)
    pieces = [
        write_segment(piece, frames, root, extractor)
        for piece, frames in _iter_segments(
            split_by_time(video.stem, n_frames, cuts, config.test_fraction, config.min_frames),
            _read_resized_frames(video, rate, config),
        )
    ]
    prepared = PrepareResult(str(video), float(rate), tuple(pieces), tuple(notes))
    with atomic_write(record) as temporary:
        temporary.write_text(
            json.dumps(
                {
                    "settings": settings,
                    "prepared": to_file_keys(asdict(prepared), _RECORD_FILE_KEYS),
                }
            )
        )
    return prepared


def scan_video(video: Path, fps: Fraction, config: VideoConfig) -> tuple[int, list[int], list[str]]:
    """How many frames there are, where shots begin, and what was wrong: a video that breaks off is used up to there."""
    numbers, notes = count(), list[str]()
    frames = (
        frame
        for frame, _ in zip(
            yield_until_decode_error(_read_resized_frames(video, fps, config), notes),
            numbers,
            strict=False,
        )
    )
    cuts = list(detect_scene_cuts(frames))
    return next(numbers), cuts, notes


def yield_until_decode_error(
    frames: Iterable[np.ndarray], notes: list[str]
) -> Iterator[np.ndarray]:
    """The frames before the one that cannot be read, which is put into `notes`. UserError: that is the first one."""
    read = 0
    try:
        for frame in frames:
            read += 1
            yield frame
    except UserError as fault:
        if read == 0:
            raise
        notes.append(f"breaks off after {read} frames: {fault}")


def _read_resized_frames(video: Path, fps: Fraction, config: VideoConfig) -> Iterator[np.ndarray]:
    for image in resample_fps(read_timed_frames(video), fps):
        yield image if config.width is None else resize_to_width(image, config.width)


def resize_to_width(image: np.ndarray, width: int) -> np.ndarray:
    """To a width in pixels, the height in proportion, both even: as videos want them."""
    height = max(2, round(image.shape[0] * width / image.shape[1] / 2) * 2)
    smaller = width < image.shape[1]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    )


def _iter_segments(
    segments: list[Segment], frames: Iterator[np.ndarray]
) -> Iterator[tuple[Segment, Iterator[np.ndarray]]]:
    for piece in segments:
        own = islice(frames, len(piece))
        yield piece, own
        for _ in own:  # what nobody wanted is passed over
            pass


def write_segment(
    segment: Segment, frames: Iterator[np.ndarray], root: Path, extractor: ConditionExtractor
) -> Segment:
    """Images and conditions of a sequence to its phase's folders; left out, with the reason, if it has none."""
    if not segment.phase:
        return segment
    folders = {
        name: root / f"{segment.phase}_{name}" / segment.name
        for name in (extractor.image_folder, *extractor.suffixes)
    }
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off

    def images() -> Iterator[np.ndarray]:
        for number, image in enumerate(frames, segment.start + 1):
            _write_file(folders[extractor.image_folder] / f"{number:06}.jpg", image)
            yield image

    try:
        for number, contents in enumerate(extractor(images(), segment.start), segment.start + 1):
            for name, content in contents.items():
                _write_file(folders[name] / f"{number:06}{extractor.suffixes[name]}", content)
    except SkipSequence as why:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        return Segment(segment.name, segment.start, segment.stop, "", str(why))
    return segment


def _write_file(path: Path, content: FileContent) -> None:
    """In place: what a run that was cut off leaves is removed by the next one, which finds no record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        Image.fromarray(content).save(path, **_JPEG_OPTIONS if path.suffix == ".jpg" else {})


def _format_config_key(video: Path, extractor: ConditionExtractor, config: VideoConfig) -> str:
    about = video.stat()
    return repr((extractor, config, about.st_size, about.st_mtime_ns))


def _read_record(record_path: Path, config_key: str) -> PrepareResult | None:
    if not record_path.is_file():
        return None
    saved: Mapping = json.loads(record_path.read_text())
    if saved["settings"] != config_key:
        return None
    return PrepareResult(
        **{
            **from_file_keys(saved["prepared"], _RECORD_FILE_KEYS),
            "segments": tuple(Segment(**piece) for piece in saved["prepared"]["pieces"]),
            "notes": tuple(saved["prepared"]["notes"]),
        }
    )
