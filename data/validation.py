"""Validate data sets: a quick check before training, and a full report for `scripts/check_data.py`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.frame_reader import IMAGE_SUFFIXES, FramePaths, FrameReader
from data.image_io import check_same_size, open_image_unconverted, read_image_size
from data.keypoints import KEYPOINT_CONFIDENCE_THRESHOLD, read_face_points, read_people
from data.sequences import FrameSequence, frame_numbers
from data.transforms import TransformConfig, sample_transform
from util.errors import UserError
from util.images.visualization import CITYSCAPES_TRAIN_ID_TO_ID

_Item = TypeVar("_Item")

# Time limit for reading whole frames. At about 30 ms per frame this covers all of a small data set
# and a sample of a large one.
MAX_CHECK_SECONDS = 20.0
UNLABELED_ID = 255  # the usual id of pixels without a label


def run_quick_check(
    frame_reader: FrameReader,
    sequences: Collection[FrameSequence],
    seconds: float = MAX_CHECK_SECONDS,
) -> str:
    """Check the header of every image, then read whole frames for about `seconds`.

    The first frame of each sequence is read first, then other frames in random order.

    Returns:
        One sentence that says what was checked.

    Raises:
        UserError: a file cannot be read, has another size than the other files of its frame, or
            holds invalid values; the message names it.
    """
    frames = [sequence.paths(frame) for sequence in sequences for frame in range(len(sequence))]
    for paths in _with_progress(frames, "headers"):
        _check_headers(paths)
    order = _spread_frame_indices([len(sequence) for sequence in sequences])
    end_time = time.monotonic() + seconds
    n_read = 0
    for i in _with_progress(order, "frames", total=len(frames)):
        if time.monotonic() >= end_time:
            break
        frame_reader.validate_files(frames[i])
        n_read += 1
    if n_read == len(frames):
        return f"data: all {n_read} frames of {len(sequences)} sequences are valid"
    return (
        f"data: {len(frames)} frames of {len(sequences)} sequences have valid headers; {n_read} of them were "
        f"read completely in {seconds:g} s, the others are checked when they are used"
    )


def _check_headers(paths: FramePaths) -> None:
    images = [path for path in paths.values() if path.suffix.lower() in IMAGE_SUFFIXES]
    check_same_size({path: read_image_size(path) for path in images})


def _spread_frame_indices(lengths: list[int]) -> Iterator[int]:
    """Yield all frame indices: the first frame of each sequence, then the rest shuffled.

    Args:
        lengths: number of frames of each sequence. Frames are numbered through all of them.
    """
    first_frames = np.cumsum([0, *lengths[:-1]])
    yield from first_frames.tolist()
    shuffled = np.random.default_rng(0).permutation(sum(lengths))
    yield from np.setdiff1d(shuffled, first_frames, assume_unique=True).tolist()


def _with_progress(items: Iterable[_Item], noun: str, total: int | None = None) -> Iterable[_Item]:
    """Iterate with a progress bar, which appears after two seconds."""
    return tqdm(
        items, f"checking {noun}", total, unit="frame", delay=2, leave=False, dynamic_ncols=True
    )


@dataclass
class SequenceReport:
    """Contents and errors of one sequence.

    Attributes:
        name: name of the sequence.
        n_frames: number of its frames.
        image_sizes: for each key the number of images of each size and mode, as `WxH MODE`.
        label_counts: number of pixels of each label id.
        instance_counts: number of instances in each frame.
        keypoint_bounds: (left, top, right, bottom) of all keypoints, in pixels.
        errors: a message for each error.
    """

    name: str
    n_frames: int
    image_sizes: dict[str, Counter[str]] = field(default_factory=dict)
    label_counts: Counter[int] = field(default_factory=Counter)
    instance_counts: list[int] = field(default_factory=list)
    keypoint_bounds: tuple[float, float, float, float] | None = None
    errors: list[str] = field(default_factory=list)

    def format_lines(self) -> Iterator[str]:
        """Yield lines of text that describe the contents, without the errors."""
        yield f"{self.name}: {self.n_frames} frames"
        for key, counts in self.image_sizes.items():
            sizes = ", ".join(f"{size} ({count})" for size, count in counts.most_common())
            yield f"  {key}: {sizes}"
        if self.label_counts:
            total = self.label_counts.total()
            shares = [f"{label}: {n / total:.1%}" for label, n in sorted(self.label_counts.items())]
            yield f"  labels: {', '.join(shares)}"
        if self.instance_counts:
            yield f"  instances: {np.mean(self.instance_counts):.1f} per frame"
        if self.keypoint_bounds:
            left, top, right, bottom = self.keypoint_bounds
            yield f"  keypoints: x {left:g} to {right:g}, y {top:g} to {bottom:g}"


def inspect_sequence(
    sequence: FrameSequence,
    frame_reader: FrameReader,
    transform_config: TransformConfig,
    n_frames_G: int,
    label_nc: int,
) -> SequenceReport:
    """Read all files of a sequence as training does, and report contents and errors.

    Args:
        sequence: the sequence.
        frame_reader: reader of the dataset mode.
        transform_config: resize and crop.
        n_frames_G: number of frames that a sequence must have.
        label_nc: number of labels; 0: conditions are not label maps.
    """
    report = SequenceReport(sequence.name, len(sequence))
    if len(sequence) < n_frames_G:
        report.errors.append(
            f"sequence {sequence.name} has {len(sequence)} frames, too few for "
            f"--n_frames_G {n_frames_G}"
        )
    report.errors += find_mispaired_frames(sequence)
    for frame in range(len(sequence)):
        paths = sequence.paths(frame)
        try:
            for key, path in paths.items():
                _inspect_file(report, key, path, is_label_map=key == "condition" and label_nc > 0)
            reference = frame_reader.read_reference_frame(paths, is_train=True)
            transform = sample_transform(reference, transform_config, rng=None)
            frame_reader.read_frame(paths, transform, rng=None)
        except UserError as error:
            report.errors.append(str(error))
    return report


def find_mispaired_frames(sequence: FrameSequence) -> list[str]:
    """Return an error message for the first frame whose file names carry different numbers.

    The list is empty if there is none. Different numbers occur if one folder lacks a frame and
    another folder lacks a different one.
    """
    for frame in range(len(sequence)):
        first, *others = sequence.paths(frame).values()
        first_numbers = frame_numbers(first)
        for other in others:
            other_numbers = frame_numbers(other)
            if first_numbers and other_numbers and first_numbers[-1] != other_numbers[-1]:
                return [
                    f"{first} is paired with {other}: their numbers differ, a frame may be missing before them"
                ]
    return []


def suggest_flags(label_counts: Counter[int]) -> Iterator[str]:
    """Yield at most one sentence: the label flags that fit the ids of a data set."""
    if not label_counts:
        return
    ids = set(label_counts) - {UNLABELED_ID}
    n_labels = max(ids, default=0) + 1
    if UNLABELED_ID not in label_counts:
        yield f"labels go up to {max(ids)}: --label_nc {n_labels} or more"
    elif ids <= set(range(len(CITYSCAPES_TRAIN_ID_TO_ID))):
        yield (
            "these look like Cityscapes' 19 training ids, 255 being unlabeled: give --label_nc 19 --ignore_label "
            "255, or convert them to the 35 ids of published networks with --to_ids FOLDER"
        )
    else:
        yield f"255 usually means unlabeled: give --label_nc {n_labels} --ignore_label 255"


def convert_to_label_ids(path: Path) -> Image.Image:
    """Convert a label map of Cityscapes' training ids to the 35 label ids of published networks.

    Unlabeled pixels get the id 0.
    """
    table = np.zeros(256, np.uint8)
    table[: len(CITYSCAPES_TRAIN_ID_TO_ID)] = CITYSCAPES_TRAIN_ID_TO_ID
    train_ids = np.asarray(open_image_unconverted(path)).astype(np.uint8)
    return Image.fromarray(table[train_ids])


def _inspect_file(report: SequenceReport, key: str, path: Path, is_label_map: bool) -> None:
    suffix = path.suffix.lower()
    if suffix == ".txt":
        _extend_keypoint_bounds(report, read_face_points(path))
    elif suffix == ".json":
        for person in read_people(path):
            points = np.concatenate([person.body, person.left_hand, person.right_hand, person.face])
            is_detected = points[:, 2] > KEYPOINT_CONFIDENCE_THRESHOLD
            _extend_keypoint_bounds(report, points[is_detected, :2])
    else:
        _inspect_image(report, key, open_image_unconverted(path), is_label_map)


def _inspect_image(
    report: SequenceReport, key: str, image: Image.Image, is_label_map: bool
) -> None:
    size = f"{image.width}x{image.height} {image.mode}"
    report.image_sizes.setdefault(key, Counter())[size] += 1
    if is_label_map and image.mode in ("1", "L", "P"):
        counts = np.bincount(np.asarray(image).astype(np.uint8).ravel())
        report.label_counts.update({int(i): int(counts[i]) for i in np.flatnonzero(counts)})
    if key == "instance":
        report.instance_counts.append(len(np.unique(np.asarray(image))))


def _extend_keypoint_bounds(report: SequenceReport, points: np.ndarray) -> None:
    """Extend the bounds to include points (N, 2)."""
    if not len(points):
        return
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    if report.keypoint_bounds:
        old_left, old_top, old_right, old_bottom = report.keypoint_bounds
        left, top = min(left, old_left), min(top, old_top)
        right, bottom = max(right, old_right), max(bottom, old_bottom)
    report.keypoint_bounds = (left, top, right, bottom)
