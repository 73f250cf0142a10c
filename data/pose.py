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

from data.drawing import (
    PixelCoordinates,
    Points,
    blend_brush,
    compute_brush_indices,
    make_disc_brush,
    make_square_brush,
    rasterize_curve,
)
from data.frame_reader import FolderSpec, FramePaths, FrameSample, ReferenceFrame
from data.image_io import check_same_size, image_to_tensor, open_image, read_image_size
from data.keypoints import KEYPOINT_CONFIDENCE_THRESHOLD, Person, read_people
from data.transforms import FrameTransform, ImageSize
from util.errors import UserError
from util.images.normalization import PixelNormalization, exact_divide, normalize_to_pm1
from util.images.visualization import tensor_to_image

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Pen:
    """brush: the offsets that a line is stamped with. tip: those of the discs at its ends."""

    brush: PixelCoordinates
    end_brush: PixelCoordinates


@dataclass(frozen=True)
class Stroke:
    """A straight line. ends: (2, 2)."""

    ends: Points
    color: Color
    pen: Pen


THICK_PEN, THIN_PEN = (
    Pen(make_square_brush(-3, 3), make_disc_brush(6)),
    Pen(make_square_brush(-1, 1), make_disc_brush(2)),
)

HEAD_LIMBS: tuple[
    tuple[int, int, Color], ...
] = (  # nose, eyes and ears: two points of BODY_25 and the line's colour
    (17, 15, (153, 0, 153)),
    (15, 0, (153, 0, 102)),
    (0, 16, (102, 0, 153)),
    (16, 18, (51, 0, 153)),
)
BODY_LIMBS: tuple[tuple[int, int, Color], ...] = (
    (0, 1, (153, 0, 51)),
    (1, 8, (153, 0, 0)),
    (1, 2, (153, 51, 0)),
    (2, 3, (153, 102, 0)),
    (3, 4, (153, 153, 0)),
    (1, 5, (102, 153, 0)),
    (5, 6, (51, 153, 0)),
    (6, 7, (0, 153, 0)),
    (8, 9, (0, 153, 51)),
    (9, 10, (0, 153, 102)),
    (10, 11, (0, 153, 153)),
    (11, 24, (0, 153, 153)),
    (11, 22, (0, 153, 153)),
    (22, 23, (0, 153, 153)),
    (8, 12, (0, 102, 153)),
    (12, 13, (0, 51, 153)),
    (13, 14, (0, 0, 153)),
    (14, 21, (0, 0, 153)),
    (14, 19, (0, 0, 153)),
    (19, 20, (0, 0, 153)),
)
FINGERS: tuple[tuple[tuple[int, ...], Color], ...] = (
    ((0, 1, 2, 3, 4), (204, 0, 0)),
    ((0, 5, 6, 7, 8), (163, 204, 0)),
    ((0, 9, 10, 11, 12), (0, 204, 82)),
    ((0, 13, 14, 15, 16), (0, 82, 204)),
    ((0, 17, 18, 19, 20), (163, 0, 204)),
)
FACE_POLYLINES = (
    range(17, 22),
    range(22, 27),
    range(27, 31),
    range(31, 36),
    (36, 37, 38, 39),
    (39, 40, 41, 36),
    (42, 43, 44, 45),
    (45, 46, 47, 42),
    range(48, 55),
    (54, 55, 56, 57, 58, 59, 48),
)
FACE_CONFIDENCE_THRESHOLD = 0.1
WHITE = (255, 255, 255)
HEAD_POINT_INDICES = [0, 15, 16, 17, 18]
N_DENSEPOSE_PARTS = 24  # DensePose's parts are 1..24
DENSEPOSE_FACE_PARTS = (23, 24)


@dataclass(frozen=True)
class PoseFrameReader:
    """densepose, openpose: which of the two make the condition, in this order, 3 channels each.
    basic_points: neither head limbs nor hands nor face are drawn.
    remove_face_labels, drop_prob: training's augmentation: parts and limbs are left out, the face is moved.
    people: whether OpenPose draws everybody or the one whose points span the largest box."""

    uses_densepose: bool
    uses_openpose: bool
    uses_basic_points: bool
    remove_face_labels: bool
    drop_prob: float
    person_selection: Literal["all", "largest"]

    @property
    def normalization(self) -> PixelNormalization:
        return normalize_densepose if self.uses_densepose else normalize_to_pm1

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        """The image is always read: it names the frame and gives its size."""
        streams = {"image": FolderSpec("img")}
        if self.uses_densepose:
            streams["densepose"] = FolderSpec("densepose")
        if self.uses_openpose:
            streams["openpose"] = FolderSpec("openpose", (".json",))
        return streams

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        return ReferenceFrame(read_image_size(paths["image"]))

    def read_frame(
        self, paths: FramePaths, transform: FrameTransform, rng: np.random.Generator | None
    ) -> FrameSample:
        image = open_image(paths["image"])
        condition = []
        if self.uses_densepose:
            parts = _open_densepose_for(paths, image)
            condition.append(
                self._augment_densepose(transform.apply(parts, Image.Resampling.NEAREST), rng)
            )
        if self.uses_openpose:
            drawn = Image.fromarray(
                self._draw_people(read_people(paths["openpose"]), image.size, rng)
            )
            condition.append(image_to_tensor(transform.apply(drawn, Image.Resampling.NEAREST)))
        middle = center_crop_columns(transform.output_size[0])
        pixels = image_to_tensor(transform.apply(image, Image.Resampling.BICUBIC))
        return FrameSample(
            torch.cat(condition)[..., middle].contiguous(), pixels[..., middle].contiguous(), None
        )

    def validate_files(self, paths: FramePaths) -> None:
        image = open_image(paths["image"])
        if self.uses_densepose:
            _open_densepose_for(paths, image)
        if self.uses_openpose:
            read_people(paths["openpose"])

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """OpenPose drawn over DensePose."""
        return tensor_to_image(pose_to_image(self.normalization(condition)))

    def _augment_densepose(self, image: Image.Image, rng: np.random.Generator | None) -> Tensor:
        pixels = np.array(image)
        if rng is not None:
            dropped = np.flatnonzero(rng.random(N_DENSEPOSE_PARTS) < self.drop_prob) + 1
            pixels[
                np.isin(
                    pixels[..., 2],
                    [*dropped, *(DENSEPOSE_FACE_PARTS if self.remove_face_labels else ())],
                )
            ] = 0
        return image_to_tensor(Image.fromarray(pixels))

    def _draw_people(
        self, people: list[Person], size: ImageSize, rng: np.random.Generator | None
    ) -> NDArray[np.uint8]:
        """(H, W, 3): everybody on a canvas of their own; the canvases are added, wrapping, as published."""
        if self.person_selection == "largest" and people:
            people = [max(people, key=lambda person: person.area)]
        if rng is not None and self.remove_face_labels and self.drop_prob > 0:
            people = [jitter_keypoints(person, rng) for person in people]
        canvas = np.zeros((*size[::-1], 3), np.uint8)
        for person in people:
            limbs = list(iter_limb_groups(person, self.uses_basic_points))
            kept = (
                limbs if rng is None else [limb for limb in limbs if rng.random() >= self.drop_prob]
            )
            canvas += draw_strokes((stroke for limb in kept for stroke in limb), size)
        return canvas


def _open_densepose_for(paths: FramePaths, image: Image.Image) -> Image.Image:
    parts = open_densepose(paths["densepose"])
    check_same_size({paths["image"]: image.size, paths["densepose"]: parts.size})
    return parts


def open_densepose(path: Path) -> Image.Image:
    """RGB = (U, V, part id)."""
    image = open_image(path)
    highest = int(np.asarray(image)[..., 2].max())
    if highest > N_DENSEPOSE_PARTS:
        raise UserError(
            f"{path}: its third channel goes up to {highest}; expected DensePose part ids 0..{N_DENSEPOSE_PARTS}: "
            "write the IUV map as RGB = (U, V, part id)"
        )
    return image


def normalize_densepose(condition: Tensor) -> Tensor:
    """To float32 in [-1, 1], part ids 0..24 spread over all of it. condition: (..., C, H, W) uint8: U, V, part id, and
    OpenPose's colours after them."""
    numbers = normalize_to_pm1(condition)
    ids = (numbers[..., 2, :, :] * 0.5 + 0.5) * 255
    numbers[..., 2, :, :] = (exact_divide(ids, N_DENSEPOSE_PARTS) - 0.5) / 0.5
    return numbers


def center_crop_columns(width: int) -> slice:
    """The columns kept of a frame: a person stands in the middle."""
    half = int(width * 0.25) // 32 * 32
    if not half:
        raise UserError(
            f"a pose keeps the middle of each frame, and of {width} columns nothing is left; "
            "expected at least 128 after resizing: raise --loadSize or change --resize_or_crop"
        )
    return slice(width // 2 - half, width // 2 + half)


def pose_to_image(condition: Tensor) -> Tensor:
    """(..., 3, H, W): the condition as one image, OpenPose drawn over DensePose. condition: (..., 6 or 3, H, W)."""
    if condition.shape[-3] == 3:
        return condition
    densepose, openpose = condition.split(3, dim=-3)
    return torch.where((openpose > -1).any(dim=-3, keepdim=True), openpose, densepose)


def jitter_keypoints(person: Person, rng: np.random.Generator) -> Person:
    """Head points moved each on its own, the face as a whole, so that the network does not copy a face's shape."""
    body, face = person.body.copy(), person.face.copy()
    body[HEAD_POINT_INDICES, :2] += 5 * rng.standard_normal((len(HEAD_POINT_INDICES), 2))
    face[:, :2] += 2 * rng.standard_normal(2)
    return replace(person, body=body, face=face)


def iter_limb_groups(person: Person, uses_basic_points: bool) -> Iterator[list[Stroke]]:
    """What is drawn or dropped as a whole, in the order of drawing: each limb, each hand, the face."""
    for start, end, colour in BODY_LIMBS if uses_basic_points else (*HEAD_LIMBS, *BODY_LIMBS):
        yield build_polyline(
            person.body, (start, end), KEYPOINT_CONFIDENCE_THRESHOLD, colour, THICK_PEN
        )
    if not uses_basic_points:
        for hand in (person.left_hand, person.right_hand):
            yield [
                s
                for finger, colour in FINGERS
                for s in build_polyline(
                    hand, finger, KEYPOINT_CONFIDENCE_THRESHOLD, colour, THIN_PEN
                )
            ]
        yield [
            s
            for run in FACE_POLYLINES
            for s in build_polyline(person.face, run, FACE_CONFIDENCE_THRESHOLD, WHITE, THIN_PEN)
        ]


def build_polyline(
    points: Points, indices: Sequence[int], threshold: float, color: Color, pen: Pen
) -> list[Stroke]:
    """The lines between a run's neighbours, if every point of it is seen. points: (N, 3) with confidence."""
    chosen = points[list(indices)]
    if not (chosen[:, 2] > threshold).all():
        return []
    lines = [np.stack(ends) for ends in pairwise(chosen[:, :2])]
    return [
        Stroke(ends, color, pen) for ends in lines if ends[:, 0].all()
    ]  # x = 0: detectors' word for missing


def draw_strokes(strokes: Iterable[Stroke], size: ImageSize) -> NDArray[np.uint8]:
    """(H, W, 3): the strokes on black. size: (w, h)."""
    canvas = np.zeros((*size[::-1], 3), np.uint16)
    for stroke in strokes:
        pixels = rasterize_curve(stroke.ends)
        if len(pixels):
            blend_brush(canvas, compute_brush_indices(pixels, stroke.pen.brush, size), stroke.color)
            blend_brush(
                canvas,
                compute_brush_indices(pixels[[0, -1]], stroke.pen.end_brush, size),
                stroke.color,
            )
    return canvas.astype(np.uint8)
