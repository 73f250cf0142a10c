"""Pose mode: DensePose and OpenPose -> condition (dataset mode pose)."""

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
from data.frame_reader import FolderSpec, FramePaths, FrameSample
from data.image_io import check_same_size, image_to_tensor, open_image, read_image_size
from data.keypoints import KEYPOINT_CONFIDENCE_THRESHOLD, Person, read_people
from data.transforms import FrameTransform, ImageSize, ReferenceFrame
from util.errors import UserError
from util.images.normalization import PixelNormalization, exact_divide, normalize_to_pm1
from util.images.visualization import tensor_to_image

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Pen:
    """The brushes of a line.

    Attributes:
        brush: offsets (x, y) stamped along the line.
        end_brush: offsets stamped at both ends.
    """

    brush: PixelCoordinates
    end_brush: PixelCoordinates


@dataclass(frozen=True)
class Stroke:
    """A straight line.

    Attributes:
        ends: (2, 2) end points.
        color: RGB.
        pen: brushes of the line.
    """

    ends: Points
    color: Color
    pen: Pen


THICK_PEN = Pen(make_square_brush(-3, 3), make_disc_brush(6))
THIN_PEN = Pen(make_square_brush(-1, 1), make_disc_brush(2))

# Limbs: two points of BODY_25 and the color of the line. First nose, eyes and ears.
HEAD_LIMBS: tuple[tuple[int, int, Color], ...] = (
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
FACE_CONFIDENCE_THRESHOLD = 0.1  # as published: ten times that of body and hands
WHITE = (255, 255, 255)
HEAD_POINT_INDICES = [0, 15, 16, 17, 18]
N_DENSEPOSE_PARTS = 24  # part ids are 1..24, 0 is the background
DENSEPOSE_FACE_PARTS = (23, 24)


@dataclass(frozen=True)
class PoseFrameReader:
    """Implements `data.frame_reader.FrameReader` with the keys `image`, `densepose`, `openpose`.

    Attributes:
        uses_densepose: whether DensePose gives the first 3 channels of the condition.
        uses_openpose: whether OpenPose gives the last 3 channels of the condition.
        uses_basic_points: whether head limbs, hands and face are left out of the drawing.
        remove_face_labels: whether training removes DensePose's face parts and jitters OpenPose's
            head and face.
        drop_prob: probability in training that a DensePose part, a limb, a hand or the face is left
            out.
        person_selection: whether to draw all people of an OpenPose file or the one with the largest
            bounding box.
    """

    uses_densepose: bool
    uses_openpose: bool
    uses_basic_points: bool
    remove_face_labels: bool
    drop_prob: float
    person_selection: Literal["all", "largest"]

    @property
    def normalization(self) -> PixelNormalization:
        """[-1, 1], with DensePose's part ids spread over the whole range."""
        return normalize_densepose if self.uses_densepose else normalize_to_pm1

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        """Return img in any case, which gives a frame its name and size, then densepose, openpose."""
        specs = {"image": FolderSpec("img")}
        if self.uses_densepose:
            specs["densepose"] = FolderSpec("densepose")
        if self.uses_openpose:
            specs["openpose"] = FolderSpec("openpose", (".json",))
        return specs

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        """Return the size of the image."""
        return ReferenceFrame(read_image_size(paths["image"]))

    def read_frame(
        self, paths: FramePaths, transform: FrameTransform, rng: np.random.Generator | None
    ) -> FrameSample:
        """Return the middle columns of one frame, with parts and limbs dropped in training."""
        # The order of the random draws is fixed: dropped DensePose parts, then the jitter of all
        # people, then the dropped limbs of one person after the other.
        image = open_image(paths["image"])
        condition = []
        if self.uses_densepose:
            densepose = _open_densepose_for(paths, image)
            densepose = transform.apply(densepose, Image.Resampling.NEAREST)
            condition.append(self._augment_densepose(densepose, rng))
        if self.uses_openpose:
            people = read_people(paths["openpose"])
            openpose = Image.fromarray(self._draw_people(people, image.size, rng))
            openpose = transform.apply(openpose, Image.Resampling.NEAREST)
            condition.append(image_to_tensor(openpose))
        real = image_to_tensor(transform.apply(image, Image.Resampling.BICUBIC))
        columns = center_crop_columns(transform.output_size[0])
        return FrameSample(
            torch.cat(condition)[..., columns].contiguous(),
            real[..., columns].contiguous(),
            instance=None,
        )

    def validate_files(self, paths: FramePaths) -> None:
        """Open all files and check the DensePose ids and sizes."""
        image = open_image(paths["image"])
        if self.uses_densepose:
            _open_densepose_for(paths, image)
        if self.uses_openpose:
            read_people(paths["openpose"])

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """Return OpenPose drawn over DensePose."""
        return tensor_to_image(pose_to_image(self.normalization(condition)))

    def _augment_densepose(self, densepose: Image.Image, rng: np.random.Generator | None) -> Tensor:
        pixels = np.array(densepose)
        if rng is not None:
            is_dropped = rng.random(N_DENSEPOSE_PARTS) < self.drop_prob
            dropped_ids = (np.flatnonzero(is_dropped) + 1).tolist()
            if self.remove_face_labels:
                dropped_ids += DENSEPOSE_FACE_PARTS
            pixels[np.isin(pixels[..., 2], dropped_ids)] = 0
        return image_to_tensor(Image.fromarray(pixels))

    def _draw_people(
        self, people: list[Person], size: ImageSize, rng: np.random.Generator | None
    ) -> NDArray[np.uint8]:
        """Return an image (H, W, 3) of all people on black."""
        if self.person_selection == "largest" and people:
            people = [max(people, key=lambda person: person.area)]
        # as published: the points are jittered only if limbs can be dropped as well.
        if rng is not None and self.remove_face_labels and self.drop_prob > 0:
            people = [jitter_keypoints(person, rng) for person in people]
        canvas = np.zeros((*size[::-1], 3), np.uint8)
        for person in people:
            groups = list(iter_limb_groups(person, self.uses_basic_points))
            if rng is not None:
                groups = [group for group in groups if rng.random() >= self.drop_prob]
            strokes = [stroke for group in groups for stroke in group]
            # as published: every person has a canvas, and the canvases are added as uint8. Colors of
            # overlapping people wrap around.
            canvas += draw_strokes(strokes, size)
        return canvas


def _open_densepose_for(paths: FramePaths, image: Image.Image) -> Image.Image:
    densepose = open_densepose(paths["densepose"])
    check_same_size({paths["image"]: image.size, paths["densepose"]: densepose.size})
    return densepose


def open_densepose(path: Path) -> Image.Image:
    """Open a DensePose map and check its part ids.

    Its first two channels are DensePose's U and V, in either order. The third is the part id.
    """
    image = open_image(path)
    max_id = int(np.asarray(image)[..., 2].max())
    if max_id > N_DENSEPOSE_PARTS:
        raise UserError(
            f"{path}: its third channel goes up to {max_id}; expected DensePose part ids 0..{N_DENSEPOSE_PARTS}: "
            "write the IUV map as RGB = (U, V, part id)"
        )
    return image


def normalize_densepose(condition: Tensor) -> Tensor:
    """Convert uint8 to float32 in [-1, 1], with part ids 0..24 spread over the whole range.

    Args:
        condition: (..., C, H, W) with the channels U, V, part id, and OpenPose's colors if C is 6.
    """
    # as published: c -> ((c * 0.5 + 0.5) * 255 / 24 - 0.5) / 0.5, computed from the channel in
    # [-1, 1]. The detour over [-1, 1] rounds differently than a direct id / 24.
    normalized = normalize_to_pm1(condition)
    ids = (normalized[..., 2, :, :] * 0.5 + 0.5) * 255
    normalized[..., 2, :, :] = (exact_divide(ids, N_DENSEPOSE_PARTS) - 0.5) / 0.5
    return normalized


def center_crop_columns(width: int) -> slice:
    """Return the columns of a frame that are kept: its middle, where a person stands."""
    # as published: about half of the width, each side of the center a multiple of 32.
    half = int(width * 0.25) // 32 * 32
    if not half:
        raise UserError(
            f"pose mode keeps the middle of each frame, and of {width} columns none is left; "
            "expected at least 128 after resizing: raise --loadSize or change --resize_or_crop"
        )
    return slice(width // 2 - half, width // 2 + half)


def pose_to_image(condition: Tensor) -> Tensor:
    """Return the condition as one image (..., 3, H, W): OpenPose drawn over DensePose.

    Args:
        condition: (..., 6 or 3, H, W), normalized to [-1, 1].
    """
    if condition.shape[-3] == 3:
        return condition
    densepose, openpose = condition.split(3, dim=-3)
    is_drawn = (openpose > -1).any(dim=-3, keepdim=True)
    return torch.where(is_drawn, openpose, densepose)


def jitter_keypoints(person: Person, rng: np.random.Generator) -> Person:
    """Return the person with noise on its head, so that networks do not copy the face's shape.

    Each head point moves by N(0, 5²) pixels per axis, the whole face by N(0, 2²) pixels per axis.
    """
    body, face = person.body.copy(), person.face.copy()
    body[HEAD_POINT_INDICES, :2] += 5 * rng.standard_normal((len(HEAD_POINT_INDICES), 2))
    face[:, :2] += 2 * rng.standard_normal(2)
    return replace(person, body=body, face=face)


def iter_limb_groups(person: Person, uses_basic_points: bool) -> Iterator[list[Stroke]]:
    """Yield the strokes that are dropped together: of each limb, each hand and the face.

    A group is empty if its points were not detected. The order is the drawing order.
    """
    limbs = BODY_LIMBS if uses_basic_points else (*HEAD_LIMBS, *BODY_LIMBS)
    for start, end, color in limbs:
        yield build_polyline(
            person.body, (start, end), KEYPOINT_CONFIDENCE_THRESHOLD, color, THICK_PEN
        )
    if uses_basic_points:
        return
    for hand in (person.left_hand, person.right_hand):
        strokes: list[Stroke] = []
        for finger, color in FINGERS:
            strokes += build_polyline(hand, finger, KEYPOINT_CONFIDENCE_THRESHOLD, color, THIN_PEN)
        yield strokes
    strokes = []
    for polyline in FACE_POLYLINES:
        strokes += build_polyline(person.face, polyline, FACE_CONFIDENCE_THRESHOLD, WHITE, THIN_PEN)
    yield strokes


def build_polyline(
    points: Points, indices: Sequence[int], threshold: float, color: Color, pen: Pen
) -> list[Stroke]:
    """Return the lines between consecutive points; none unless all points are detected.

    Args:
        points: (N, 3) with confidence.
        indices: the points to connect.
        threshold: confidence above which a point is detected.
        color: RGB.
        pen: brushes of the lines.
    """
    selected = points[list(indices)]
    is_detected = selected[:, 2] > threshold
    if not is_detected.all():
        return []
    lines = [np.stack(ends) for ends in pairwise(selected[:, :2])]
    # as published: a line with an end at x = 0 is skipped, since detectors write 0 for a missing point.
    return [Stroke(ends, color, pen) for ends in lines if ends[:, 0].all()]


def draw_strokes(strokes: Iterable[Stroke], size: ImageSize) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) of `size` (w, h) with the strokes, in their order, on black."""
    canvas = np.zeros((*size[::-1], 3), np.uint16)
    for stroke in strokes:
        pixels = rasterize_curve(stroke.ends)
        if not len(pixels):
            continue
        line = compute_brush_indices(pixels, stroke.pen.brush, size)
        # as published: both ends are stamped at once, so they are blended as one curve of two pixels.
        ends = compute_brush_indices(pixels[[0, -1]], stroke.pen.end_brush, size)
        blend_brush(canvas, line, stroke.color)
        blend_brush(canvas, ends, stroke.color)
    return canvas.astype(np.uint8)
