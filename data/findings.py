"""What a data set holds and all that is wrong with it (`scripts/check_data.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from data.domain import Domain
from data.geometry import GeometryConfig, plan_geometry
from data.keypoints import SEEN, read_face_points, read_people
from data.pictures import open_map, picture_size
from data.sequences import Sequence, frame_numbers
from util.errors import UserError
from util.pictures import CITYSCAPES_TRAINED

UNLABELLED = 255


@dataclass
class Findings:
    """Of one sequence. sizes: WxH and mode of every stream's pictures. labels: pixels of each id. instances: of a
    frame, on average. points: (left, top, right, bottom) around all keypoints."""

    name: str
    frames: int
    sizes: dict[str, Counter[str]] = field(default_factory=dict)
    labels: Counter[int] = field(default_factory=Counter)
    instances: list[int] = field(default_factory=list)
    points: tuple[float, float, float, float] | None = None
    faults: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For people; faults apart."""
        yield f"{self.name}: {self.frames} frames"
        for stream, sizes in self.sizes.items():
            yield f"  {stream}: " + ", ".join(f"{size} ({count})" for size, count in sizes.most_common())
        if self.labels:
            total = self.labels.total()
            yield "  labels: " + ", ".join(f"{i}: {n / total:.1%}" for i, n in sorted(self.labels.items()))
        if self.instances:
            yield f"  instances: {np.mean(self.instances):.1f} in a frame"
        if self.points:
            yield "  keypoints: x {0:g} to {2:g}, y {1:g} to {3:g}".format(*self.points)


def check_sequence(sequence: Sequence, domain: Domain, geometry: GeometryConfig, n_frames_G: int,
                   label_nc: int) -> Findings:
    """Reads every file of it as training would. label_nc: 0 where conditions are no label maps."""
    found = Findings(sequence.name, len(sequence))
    if len(sequence) < n_frames_G:
        found.faults.append(f"sequence {sequence.name} has {len(sequence)} frames, too few for "
                            f"--n_frames_G {n_frames_G}")
    found.faults += mispaired(sequence)
    for frame in range(len(sequence)):
        paths = sequence.paths(frame)
        try:
            for stream, path in paths.items():
                _measure(found, stream, path, stream == "condition" and label_nc > 0)
            domain.read(paths, plan_geometry(domain.lead(paths, train=True), geometry, None), None)
        except UserError as fault:
            found.faults.append(str(fault))
    return found


def mispaired(sequence: Sequence) -> list[str]:
    """The first frame whose files carry different numbers in their names: a file too many here, one too few there."""
    for frame in range(len(sequence)):
        (_, first), *others = sequence.paths(frame).items()
        for _, path in others:
            here, there = frame_numbers(first), frame_numbers(path)
            if here and there and here[-1] != there[-1]:
                return [f"{first} is paired with {path}: their numbers differ, a frame may be missing before them"]
    return []


def suggestions(labels: Counter[int]) -> Iterator[str]:
    """What flags the ids of a data set ask for."""
    if not labels:
        return
    ids = set(labels) - {UNLABELLED}
    if UNLABELLED in labels and ids <= set(range(len(CITYSCAPES_TRAINED))):
        yield ("these look like Cityscapes' 19 training ids, 255 being unlabelled: give --label_nc 19 --ignore_label "
               "255, or turn them into the 35 ids of published networks with --to_ids FOLDER")
    elif UNLABELLED in labels:
        yield f"255 means unlabelled, as a rule: give --label_nc {max(ids, default=0) + 1} --ignore_label 255"
    else:
        yield f"labels go up to {max(ids)}: --label_nc {max(ids) + 1} or more"


def to_ids(path: Path) -> Image.Image:
    """A label map of Cityscapes' training ids with the 35 ids of published networks; unlabelled becomes 0."""
    table = np.zeros(256, np.uint8)
    table[:len(CITYSCAPES_TRAINED)] = CITYSCAPES_TRAINED
    return Image.fromarray(table[np.asarray(open_map(path)).astype(np.uint8)])


def _measure(found: Findings, stream: str, path: Path, holds_labels: bool) -> None:
    if path.suffix.lower() == ".txt":
        _widen(found, read_face_points(path))
    elif path.suffix.lower() == ".json":
        for person in read_people(path):
            points = np.concatenate([person.body, person.left_hand, person.right_hand, person.face])
            _widen(found, points[points[:, 2] > SEEN, :2])
    else:
        picture_size(path)
        image = open_map(path)
        found.sizes.setdefault(stream, Counter())[f"{image.width}x{image.height} {image.mode}"] += 1
        if holds_labels and image.mode in ("1", "L", "P"):
            counts = np.bincount(np.asarray(image).astype(np.uint8).ravel())
            found.labels.update({int(i): int(counts[i]) for i in np.flatnonzero(counts)})
        if stream == "instance":
            found.instances.append(len(np.unique(np.asarray(image))))


def _widen(found: Findings, points: np.ndarray) -> None:
    if len(points):
        x, y = points[:, 0].tolist(), points[:, 1].tolist()
        before = found.points or (np.inf, np.inf, -np.inf, -np.inf)
        found.points = (min(before[0], *x), min(before[1], *y), max(before[2], *x), max(before[3], *y))
