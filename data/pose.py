"""Poses: DensePose and OpenPose -> condition (SPEC 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data.domain import FrameMaps, FramePaths, Lead, Stream
from data.drawing import Curve, Points, curve, disc, paint, square, stamps
from data.geometry import Geometry, Size
from data.keypoints import SEEN, Person, read_people
from data.pictures import check_same_size, open_picture, picture_size, picture_tensor
from util.errors import UserError
from util.levels import Levels, quotient, signed
from util.pictures import to_uint8

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Pen:
    """brush: the offsets that a line is stamped with. tip: those of the discs at its ends."""

    brush: Curve
    tip: Curve


@dataclass(frozen=True)
class Stroke:
    """A straight line. ends: (2, 2)."""

    ends: Points
    colour: Colour
    pen: Pen


THICK, THIN = Pen(square(-3, 3), disc(6)), Pen(square(-1, 1), disc(2))

HEAD: tuple[tuple[int, int, Colour], ...] = (  # nose, eyes and ears: two points of BODY_25 and the line's colour
    (17, 15, (153, 0, 153)), (15, 0, (153, 0, 102)), (0, 16, (102, 0, 153)), (16, 18, (51, 0, 153)),
)
TRUNK: tuple[tuple[int, int, Colour], ...] = (
    (0, 1, (153, 0, 51)), (1, 8, (153, 0, 0)),
    (1, 2, (153, 51, 0)), (2, 3, (153, 102, 0)), (3, 4, (153, 153, 0)),
    (1, 5, (102, 153, 0)), (5, 6, (51, 153, 0)), (6, 7, (0, 153, 0)),
    (8, 9, (0, 153, 51)), (9, 10, (0, 153, 102)),
    (10, 11, (0, 153, 153)), (11, 24, (0, 153, 153)), (11, 22, (0, 153, 153)), (22, 23, (0, 153, 153)),
    (8, 12, (0, 102, 153)), (12, 13, (0, 51, 153)),
    (13, 14, (0, 0, 153)), (14, 21, (0, 0, 153)), (14, 19, (0, 0, 153)), (19, 20, (0, 0, 153)),
)
FINGERS: tuple[tuple[tuple[int, ...], Colour], ...] = (
    ((0, 1, 2, 3, 4), (204, 0, 0)), ((0, 5, 6, 7, 8), (163, 204, 0)), ((0, 9, 10, 11, 12), (0, 204, 82)),
    ((0, 13, 14, 15, 16), (0, 82, 204)), ((0, 17, 18, 19, 20), (163, 0, 204)),
)
FACE_RUNS = (
    range(17, 22), range(22, 27), range(27, 31), range(31, 36),
    (36, 37, 38, 39), (39, 40, 41, 36), (42, 43, 44, 45), (45, 46, 47, 42),
    range(48, 55), (54, 55, 56, 57, 58, 59, 48),
)
FACE_SEEN = 0.1
WHITE = (255, 255, 255)
HEAD_POINTS = [0, 15, 16, 17, 18]
PART_IDS = 24  # DensePose's parts are 1..24
FACE_PARTS = (23, 24)


@dataclass(frozen=True)
class Pose:
    """densepose, openpose: which of the two make the condition, in this order, 3 channels each.
    basic_points: neither head limbs nor hands nor face are drawn.
    remove_face_labels, drop_prob: training's augmentation: parts and limbs are left out, the face is moved.
    people: whether OpenPose draws everybody or the one whose points span the largest box."""

    densepose: bool
    openpose: bool
    basic_points: bool
    remove_face_labels: bool
    drop_prob: float
    people: Literal["all", "largest"]

    @property
    def levels(self) -> Levels:
        return densepose_levels if self.densepose else signed

    def streams(self, picture: bool) -> dict[str, Stream]:
        """The picture is always read: it names the frame and gives its size."""
        streams = {"picture": Stream("img")}
        if self.densepose:
            streams["densepose"] = Stream("densepose")
        if self.openpose:
            streams["openpose"] = Stream("openpose", (".json",))
        return streams

    def lead(self, paths: FramePaths, train: bool) -> Lead:
        return Lead(picture_size(paths["picture"]))

    def read(self, paths: FramePaths, geometry: Geometry, rng: np.random.Generator | None) -> FrameMaps:
        picture = open_picture(paths["picture"])
        condition = []
        if self.densepose:
            parts = _densepose_of(paths, picture)
            condition.append(self._densepose(geometry.apply(parts, Image.Resampling.NEAREST), rng))
        if self.openpose:
            drawn = Image.fromarray(self._openpose(read_people(paths["openpose"]), picture.size, rng))
            condition.append(picture_tensor(geometry.apply(drawn, Image.Resampling.NEAREST)))
        middle = middle_columns(geometry.size[0])
        pixels = picture_tensor(geometry.apply(picture, Image.Resampling.BICUBIC))
        return FrameMaps(torch.cat(condition)[..., middle].contiguous(), pixels[..., middle].contiguous(), None)

    def check(self, paths: FramePaths) -> None:
        picture = open_picture(paths["picture"])
        if self.densepose:
            _densepose_of(paths, picture)
        if self.openpose:
            read_people(paths["openpose"])

    def show(self, condition: Tensor) -> np.ndarray:
        """OpenPose drawn over DensePose."""
        return to_uint8(pose_picture(self.levels(condition)))

    def _densepose(self, image: Image.Image, rng: np.random.Generator | None) -> Tensor:
        pixels = np.array(image)
        if rng is not None:
            dropped = np.flatnonzero(rng.random(PART_IDS) < self.drop_prob) + 1
            pixels[np.isin(pixels[..., 2], [*dropped, *(FACE_PARTS if self.remove_face_labels else ())])] = 0
        return picture_tensor(Image.fromarray(pixels))

    def _openpose(self, people: list[Person], size: Size, rng: np.random.Generator | None) -> NDArray[np.uint8]:
        """(H, W, 3): everybody on a canvas of their own; the canvases are added, wrapping, as published."""
        if self.people == "largest" and people:
            people = [max(people, key=lambda person: person.area)]
        if rng is not None and self.remove_face_labels and self.drop_prob > 0:
            people = [jittered(person, rng) for person in people]
        canvas = np.zeros((*size[::-1], 3), np.uint8)
        for person in people:
            limbs = list(droppable(person, self.basic_points))
            kept = limbs if rng is None else [limb for limb in limbs if rng.random() >= self.drop_prob]
            canvas += draw((stroke for limb in kept for stroke in limb), size)
        return canvas


def _densepose_of(paths: FramePaths, picture: Image.Image) -> Image.Image:
    parts = open_densepose(paths["densepose"])
    check_same_size({paths["picture"]: picture.size, paths["densepose"]: parts.size})
    return parts


def open_densepose(path: Path) -> Image.Image:
    """RGB = (U, V, part id)."""
    image = open_picture(path)
    highest = int(np.asarray(image)[..., 2].max())
    if highest > PART_IDS:
        raise UserError(f"{path}: its third channel goes up to {highest}; expected DensePose part ids 0..{PART_IDS}: "
                        "write the IUV map as RGB = (U, V, part id)")
    return image


def densepose_levels(condition: Tensor) -> Tensor:
    """To float32 in [-1, 1], part ids 0..24 spread over all of it. condition: (..., C, H, W) uint8: U, V, part id, and
    OpenPose's colours after them."""
    numbers = signed(condition)
    ids = (numbers[..., 2, :, :] * 0.5 + 0.5) * 255
    numbers[..., 2, :, :] = (quotient(ids, PART_IDS) - 0.5) / 0.5
    return numbers


def middle_columns(width: int) -> slice:
    """The columns kept of a frame: a person stands in the middle."""
    half = int(width * 0.25) // 32 * 32
    if not half:
        raise UserError(f"a pose keeps the middle of each frame, and of {width} columns nothing is left; "
                        "expected at least 128 after resizing: raise --loadSize or change --resize_or_crop")
    return slice(width // 2 - half, width // 2 + half)


def pose_picture(condition: Tensor) -> Tensor:
    """(..., 3, H, W): the condition as one picture, OpenPose drawn over DensePose. condition: (..., 6 or 3, H, W)."""
    if condition.shape[-3] == 3:
        return condition
    densepose, openpose = condition.split(3, dim=-3)
    return torch.where((openpose > -1).any(dim=-3, keepdim=True), openpose, densepose)


def jittered(person: Person, rng: np.random.Generator) -> Person:
    """Head points moved each on its own, the face as a whole, so that the network does not copy a face's shape."""
    body, face = person.body.copy(), person.face.copy()
    body[HEAD_POINTS, :2] += 5 * rng.standard_normal((len(HEAD_POINTS), 2))
    face[:, :2] += 2 * rng.standard_normal(2)
    return replace(person, body=body, face=face)


def droppable(person: Person, basic_points: bool) -> Iterator[list[Stroke]]:
    """What is drawn or dropped as a whole, in the order of drawing: each limb, each hand, the face."""
    for start, end, colour in TRUNK if basic_points else (*HEAD, *TRUNK):
        yield connect(person.body, (start, end), SEEN, colour, THICK)
    if not basic_points:
        for hand in (person.left_hand, person.right_hand):
            yield [s for finger, colour in FINGERS for s in connect(hand, finger, SEEN, colour, THIN)]
        yield [s for run in FACE_RUNS for s in connect(person.face, run, FACE_SEEN, WHITE, THIN)]


def connect(points: Points, run: Sequence[int], seen: float, colour: Colour, pen: Pen) -> list[Stroke]:
    """The lines between a run's neighbours, if every point of it is seen. points: (N, 3) with confidence."""
    chosen = points[list(run)]
    if not (chosen[:, 2] > seen).all():
        return []
    lines = [np.stack(ends) for ends in pairwise(chosen[:, :2])]
    return [Stroke(ends, colour, pen) for ends in lines if ends[:, 0].all()]  # x = 0: detectors' word for missing


def draw(strokes: Iterable[Stroke], size: Size) -> NDArray[np.uint8]:
    """(H, W, 3): the strokes on black. size: (w, h)."""
    canvas = np.zeros((*size[::-1], 3), np.uint16)
    for stroke in strokes:
        pixels = curve(stroke.ends)
        if len(pixels):
            paint(canvas, stamps(pixels, stroke.pen.brush, size), stroke.colour)
            paint(canvas, stamps(pixels[[0, -1]], stroke.pen.tip, size), stroke.colour)
    return canvas.astype(np.uint8)
