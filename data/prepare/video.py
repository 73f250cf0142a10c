"""Turn one video into sequences of a data set, in constant memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from data.prepare.extractors.base import ConditionExtractor, FileContent, SkipSequence
from data.prepare.scene_cuts import detect_scene_cuts
from data.prepare.split import Segment, split_by_time
from util.errors import UserError
from util.io.atomic import atomic_write
from util.io.file_keys import from_file_keys, to_file_keys
from util.io.video import probe_video, read_timed_frames, resample_fps

# Nearly lossless: the network would learn compression artifacts.
_JPEG_OPTIONS: dict[str, Any] = {"quality": 95, "subsampling": 0}

_RECORD_FILE_KEYS = {"fps": "rate", "segments": "pieces"}  # of .prepared/*.json


@dataclass(frozen=True)
class VideoConfig:
    """How the frames of a video are sampled and split.

    Attributes:
        fps: Frames per second; None keeps the video's own.
        width: Of the frames in pixels; None keeps the video's own. The height follows.
        test_fraction: Held out for test, at the end of every shot.
        min_frames: Shortest sequence.
    """

    fps: float | None = None
    width: int | None = None
    test_fraction: float = 0.2
    min_frames: int = 8


@dataclass(frozen=True)
class PrepareResult:
    """What a video was turned into.

    Attributes:
        video: Its path.
        fps: Of the written sequences.
        segments: All segments of the video, those that were left out included.
        notes: Problems of the video.
    """

    video: str
    fps: float
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()


def prepare_video(
    video: Path, root: Path, extractor: ConditionExtractor, config: VideoConfig
) -> PrepareResult:
    """Write the sequences of a video to the data set at `root`.

    A record in `{root}/.prepared` is written last: a video with a record for the same settings is not prepared again,
    and an interrupted one is started over.

    Raises:
        UserError: The file is not a video, or the extractor's settings do not fit it.
    """
    record_path = root / ".prepared" / f"{video.stem}.json"
    config_key = _format_config_key(video, extractor, config)
    previous_result = _read_record(record_path, config_key)
    if previous_result is not None:
        return previous_result
    fps = Fraction(config.fps or probe_video(video).fps).limit_denominator(1001)
    n_frames, cuts, notes = scan_video(video, fps, config)
    segments = split_by_time(video.stem, n_frames, cuts, config.test_fraction, config.min_frames)
    written_segments = [
        write_segment(segment, frames, root, extractor)
        for segment, frames in _iter_segments(segments, _read_resized_frames(video, fps, config))
    ]
    result = PrepareResult(str(video), float(fps), tuple(written_segments), tuple(notes))
    record = {"settings": config_key, "prepared": to_file_keys(asdict(result), _RECORD_FILE_KEYS)}
    with atomic_write(record_path) as temporary:
        temporary.write_text(json.dumps(record))
    return result


def scan_video(video: Path, fps: Fraction, config: VideoConfig) -> tuple[int, list[int], list[str]]:
    """Read a video once and return its frame count, its scene cuts, and its problems.

    A damaged video counts up to its first unreadable frame.
    """
    n_frames = 0
    notes: list[str] = []

    def count_frames() -> Iterator[np.ndarray]:
        nonlocal n_frames
        for frame in yield_until_decode_error(_read_resized_frames(video, fps, config), notes):
            n_frames += 1
            yield frame

    cuts = list(detect_scene_cuts(count_frames()))
    return n_frames, cuts, notes


def yield_until_decode_error(
    frames: Iterable[np.ndarray], notes: list[str]
) -> Iterator[np.ndarray]:
    """Yield the frames before the first unreadable one, and append the error to `notes`.

    Raises:
        UserError: The first frame is unreadable.
    """
    n_frames = 0
    try:
        for frame in frames:
            n_frames += 1
            yield frame
    except UserError as error:
        if n_frames == 0:
            raise
        notes.append(f"breaks off after {n_frames} frames: {error}")


def _read_resized_frames(video: Path, fps: Fraction, config: VideoConfig) -> Iterator[np.ndarray]:
    for image in resample_fps(read_timed_frames(video), fps):
        yield image if config.width is None else resize_to_width(image, config.width)


def resize_to_width(image: np.ndarray, width: int) -> np.ndarray:
    """Resize to a width in pixels and the proportional height, rounded to an even number for video codecs."""
    height = max(2, round(image.shape[0] * width / image.shape[1] / 2) * 2)
    interpolation = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _iter_segments(
    segments: list[Segment], frames: Iterator[np.ndarray]
) -> Iterator[tuple[Segment, Iterator[np.ndarray]]]:
    """Yield each segment with an iterator over its frames."""
    for segment in segments:
        segment_frames = islice(frames, len(segment))
        yield segment, segment_frames
        for _ in segment_frames:  # skip frames that the caller did not read
            pass


def write_segment(
    segment: Segment, frames: Iterator[np.ndarray], root: Path, extractor: ConditionExtractor
) -> Segment:
    """Write the images and conditions of a segment to the folders of its phase.

    Returns:
        The segment; without a phase, and with the reason, if the extractor skips it.
    """
    if not segment.phase:
        return segment
    folders = {
        stream: root / f"{segment.phase}_{stream}" / segment.name
        for stream in (extractor.image_folder, *extractor.suffixes)
    }
    _remove_folders(folders)  # of an interrupted run

    def write_images() -> Iterator[np.ndarray]:
        """Write each image when the extractor reads it: there is one pass over the frames."""
        for number, image in enumerate(frames, segment.start + 1):
            _write_file(folders[extractor.image_folder] / f"{number:06}.jpg", image)
            yield image

    try:
        outputs = extractor(write_images(), segment.start)
        for number, output in enumerate(outputs, segment.start + 1):
            for stream, content in output.items():
                _write_file(folders[stream] / f"{number:06}{extractor.suffixes[stream]}", content)
    except SkipSequence as skip:
        _remove_folders(folders)
        return Segment(segment.name, segment.start, segment.stop, "", str(skip))
    return segment


def _remove_folders(folders: Mapping[str, Path]) -> None:
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)


def _write_file(path: Path, content: FileContent) -> None:
    """Write a file in place: after an interruption there is no record, and the next run starts over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        Image.fromarray(content).save(path, **_JPEG_OPTIONS if path.suffix == ".jpg" else {})


def _format_config_key(video: Path, extractor: ConditionExtractor, config: VideoConfig) -> str:
    file_stat = video.stat()
    return repr((extractor, config, file_stat.st_size, file_stat.st_mtime_ns))


def _read_record(record_path: Path, config_key: str) -> PrepareResult | None:
    if not record_path.is_file():
        return None
    record: Mapping[str, Any] = json.loads(record_path.read_text())
    if record["settings"] != config_key:
        return None
    fields = from_file_keys(record["prepared"], _RECORD_FILE_KEYS)
    fields["segments"] = tuple(Segment(**segment) for segment in fields["segments"])
    fields["notes"] = tuple(fields["notes"])
    return PrepareResult(**fields)
