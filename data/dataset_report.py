"""What a data set holds and all that is wrong with it (`scripts/check_data.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from data.frame_reader import FrameReader
from data.image_io import open_image_unconverted, read_image_size
from data.keypoints import KEYPOINT_CONFIDENCE_THRESHOLD, read_face_points, read_people
from data.sequences import FrameSequence, frame_numbers
from data.transforms import TransformConfig, sample_transform
from util.errors import UserError
from util.images.visualization import CITYSCAPES_TRAIN_ID_TO_ID

UNLABELED_ID = 255


@dataclass
class SequenceReport:
    """Of one sequence. sizes: WxH and mode of every stream's images. labels: pixels of each id. instances: of a
    frame, on average. points: (left, top, right, bottom) around all keypoints."""

    name: str
    n_frames: int
    image_sizes: dict[str, Counter[str]] = field(default_factory=dict)
    label_counts: Counter[int] = field(default_factory=Counter)
    instance_counts: list[int] = field(default_factory=list)
    keypoint_bounds: tuple[float, float, float, float] | None = None
    errors: list[str] = field(default_factory=list)

    def format_lines(self) -> Iterator[str]:
        """For people; faults apart."""
        yield f"{self.name}: {self.n_frames} frames"
        for stream, sizes in self.image_sizes.items():
            yield f"  {stream}: " + ", ".join(
                f"{size} ({count})" for size, count in sizes.most_common()
            )
        if self.label_counts:
            total = self.label_counts.total()
            yield "  labels: " + ", ".join(
                f"{i}: {n / total:.1%}" for i, n in sorted(self.label_counts.items())
            )
        if self.instance_counts:
            yield f"  instances: {np.mean(self.instance_counts):.1f} in a frame"
        if self.keypoint_bounds:
            yield "  keypoints: x {0:g} to {2:g}, y {1:g} to {3:g}".format(*self.keypoint_bounds)


def inspect_sequence(
    sequence: FrameSequence,
    frame_reader: FrameReader,
    transform_config: TransformConfig,
    n_frames_G: int,
    label_nc: int,
) -> SequenceReport:
    """Reads every file of it as training would. label_nc: 0 where conditions are no label maps."""
    found = SequenceReport(sequence.name, len(sequence))
    if len(sequence) < n_frames_G:
        found.errors.append(
            f"sequence {sequence.name} has {len(sequence)} frames, too few for "
            f"--n_frames_G {n_frames_G}"
        )
    found.errors += find_mispaired_frames(sequence)
    for frame in range(len(sequence)):
        paths = sequence.paths(frame)
        try:
            for stream, path in paths.items():
                _inspect_file(found, stream, path, stream == "condition" and label_nc > 0)
            frame_reader.read_frame(
                paths,
                sample_transform(
                    frame_reader.read_reference_frame(paths, is_train=True), transform_config, None
                ),
                None,
            )
        except UserError as fault:
            found.errors.append(str(fault))
    return found


def find_mispaired_frames(sequence: FrameSequence) -> list[str]:
    """The first frame whose files carry different numbers in their names: a file too many here, one too few there."""
    for frame in range(len(sequence)):
        (_, first), *others = sequence.paths(frame).items()
        for _, path in others:
            here, there = frame_numbers(first), frame_numbers(path)
            if here and there and here[-1] != there[-1]:
                return [
                    f"{first} is paired with {path}: their numbers differ, a frame may be missing before them"
                ]
    return []


def suggest_flags(label_counts: Counter[int]) -> Iterator[str]:
    """What flags the ids of a data set ask for."""
    if not label_counts:
        return
    ids = set(label_counts) - {UNLABELED_ID}
    if UNLABELED_ID in label_counts and ids <= set(range(len(CITYSCAPES_TRAIN_ID_TO_ID))):
        yield (
            "these look like Cityscapes' 19 training ids, 255 being unlabelled: give --label_nc 19 --ignore_label "
            "255, or turn them into the 35 ids of published networks with --to_ids FOLDER"
        )
    elif UNLABELED_ID in label_counts:
        yield f"255 means unlabelled, as a rule: give --label_nc {max(ids, default=0) + 1} --ignore_label 255"
    else:
        yield f"labels go up to {max(ids)}: --label_nc {max(ids) + 1} or more"


def convert_to_label_ids(path: Path) -> Image.Image:
    """A label map of Cityscapes' training ids with the 35 ids of published networks; unlabelled becomes 0."""
    table = np.zeros(256, np.uint8)
    table[: len(CITYSCAPES_TRAIN_ID_TO_ID)] = CITYSCAPES_TRAIN_ID_TO_ID
    return Image.fromarray(table[np.asarray(open_image_unconverted(path)).astype(np.uint8)])


def _inspect_file(report: SequenceReport, key: str, path: Path, is_label_map: bool) -> None:
    if path.suffix.lower() == ".txt":
        _expand_bounds(report, read_face_points(path))
    elif path.suffix.lower() == ".json":
        for person in read_people(path):
            points = np.concatenate([person.body, person.left_hand, person.right_hand, person.face])
            _expand_bounds(report, points[points[:, 2] > KEYPOINT_CONFIDENCE_THRESHOLD, :2])
    else:
        read_image_size(path)
        image = open_image_unconverted(path)
        report.image_sizes.setdefault(key, Counter())[
            f"{image.width}x{image.height} {image.mode}"
        ] += 1
        if is_label_map and image.mode in ("1", "L", "P"):
            counts = np.bincount(np.asarray(image).astype(np.uint8).ravel())
            report.label_counts.update({int(i): int(counts[i]) for i in np.flatnonzero(counts)})
        if key == "instance":
            report.instance_counts.append(len(np.unique(np.asarray(image))))


def _expand_bounds(report: SequenceReport, points: np.ndarray) -> None:
    if len(points):
        x, y = points[:, 0].tolist(), points[:, 1].tolist()
        before = report.keypoint_bounds or (np.inf, np.inf, -np.inf, -np.inf)
        report.keypoint_bounds = (
            min(before[0], *x),
            min(before[1], *y),
            max(before[2], *x),
            max(before[3], *y),
        )
