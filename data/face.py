"""Face mode: 68 landmarks -> edge map, distance maps and part map (dataset mode face)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import feature
from torch import Tensor

from data.drawing import (
    PixelCoordinates,
    Points,
    compute_brush_indices,
    compute_distance_map,
    make_square_brush,
    rasterize_curve,
    split_into_triples,
)
from data.frame_reader import FolderSpec, FramePaths, FrameSample
from data.image_io import id_map_to_tensor, image_to_tensor, open_image, read_image_size
from data.keypoints import read_face_points
from data.transforms import Box, FrameTransform, ImageSize, ReferenceFrame
from util.errors import UserError
from util.images.normalization import PixelNormalization, normalize_to_01
from util.images.visualization import gray_to_rgb

FACE_BRUSH = make_square_brush(-1, 1)
FACE_CROP_SCALE = 2.5  # side of the crop, in widths of the face
MAX_FACE_CROP_SIDE = 2**13  # px; a larger crop, from a wrong point, would not fit into memory


@dataclass(frozen=True)
class FacePart:
    """A part of the face.

    Attributes:
        label: id of the part in the part map.
        contours: the contours that bound the part, as indices of points.
        scale_factors: (x, y) factors by which `random_scale_points` scales the part.
    """

    label: int
    contours: tuple[tuple[int, ...], ...]
    scale_factors: tuple[float, float]

    @property
    def point_indices(self) -> list[int]:
        """Indices of all points of the part; points shared by two contours occur twice."""
        return [index for contour in self.contours for index in contour]


# Points 0..67 are dlib's; 68..82 are those that `add_forehead_points` appends.
OUTLINE = FacePart(1, ((*range(17), *range(68, 83), 0),), (0.9, 1))
BROWS = (FacePart(2, (tuple(range(17, 22)),), (1, 1)), FacePart(2, (tuple(range(22, 27)),), (1, 1)))
NOSE = FacePart(3, ((28, 31), tuple(range(31, 36)), (35, 28)), (0.9, 1))
EYES = (
    FacePart(4, ((36, 37, 38, 39), (39, 40, 41, 36)), (1, 1.1)),
    FacePart(4, ((42, 43, 44, 45), (45, 46, 47, 42)), (1, 1.1)),
)
MOUTH = FacePart(5, (tuple(range(48, 55)), (54, 55, 56, 57, 58, 59, 48)), (0.9, 0.9))
LIPS = FacePart(6, (tuple(range(60, 65)), (64, 65, 66, 67, 60)), (0.9, 0.9))
# as published: the order decides which part covers which in the part map, and it is the order of
# the distance channels.
ALL_FACE_PARTS = (OUTLINE, *BROWS, NOSE, *EYES, MOUTH, LIPS)
# Factor of the horizontal distance between the brows, and between the eyes, with `random_scale_points`.
PAIR_DISTANCE_SCALE = 0.9


@dataclass(frozen=True)
class FaceFrameReader:
    """Implements `data.frame_reader.FrameReader` with the keys `condition` (landmarks) and `image`.

    Attributes:
        uses_canny: whether Canny edges of the image outside the face are added to the edge map.
        uses_distance_maps: whether a distance map of each of the 14 contours follows the edge map
            (15 channels instead of 1).
        random_scale_points: whether test draws a face of other proportions. Despite the published
            name, nothing about it is random.
    """

    uses_canny: bool
    uses_distance_maps: bool
    random_scale_points: bool

    @property
    def normalization(self) -> PixelNormalization:
        """Edge and distance maps are in [0, 1]."""
        return normalize_to_01

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        """Return the folders keypoints and img; Canny edges need the image in any case."""
        specs = {"condition": FolderSpec("keypoints", (".txt",))}
        if uses_images or self.uses_canny:
            specs["image"] = FolderSpec("img")
        return specs

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        """Return the square around the first frame's face.

        Without an image the right and bottom border are unknown. The square is then not shifted
        left or up, as if the image were large enough.
        """
        # as published: the crop follows the first frame's face only; it is fixed for the clip.
        size = read_image_size(paths["image"]) if "image" in paths else None
        points = _read_checked_face_points(paths["condition"], size)
        box = compute_crop_box(points, size or (np.inf, np.inf))
        w, h = box[2] - box[0], box[3] - box[1]
        if not 0 < w <= MAX_FACE_CROP_SIDE:
            raise UserError(
                f"{paths['condition']}: a face {np.ptp(points[:, 0]):g} px wide; expected 1 to "
                f"{MAX_FACE_CROP_SIDE / FACE_CROP_SCALE:g}: detect that frame's keypoints again or drop the frame"
            )
        return ReferenceFrame((w, h), box)

    def read_frame(
        self, paths: FramePaths, transform: FrameTransform, rng: np.random.Generator | None
    ) -> FrameSample:
        """Return one frame; `rng` is not used, but its absence means test."""
        image = open_image(paths["image"]) if "image" in paths else None
        points = _read_checked_face_points(paths["condition"], image.size if image else None)
        is_test = rng is None
        return self.draw_landmarks(
            points,
            image,
            transform,
            should_change_proportions=self.random_scale_points and is_test,
        )

    def validate_files(self, paths: FramePaths) -> None:
        """Open the image and check the landmarks."""
        if "image" in paths:
            open_image(paths["image"])
        # The face must have a valid crop in every frame, since each may be a clip's first.
        self.read_reference_frame(paths, is_train=True)

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """Return the edge map in gray."""
        return gray_to_rgb(normalize_to_01(condition[0]))

    def draw_landmarks(
        self,
        points: Points,
        image: Image.Image | None,
        transform: FrameTransform,
        should_change_proportions: bool,
    ) -> FrameSample:
        """Draw one frame's maps at full size, then transform them.

        Args:
            points: (68, 2) landmarks in pixels of the image.
            image: the real image; None if the run reads no images.
            transform: crop and resize of the clip.
            should_change_proportions: whether to draw a face of other proportions.

        Returns:
            The maps as condition, the part map as instance ids.
        """
        points = add_forehead_points(points)
        size = image.size if image else _infer_canvas_size(points, transform.box)
        part_map = draw_part_map(points, size)
        if should_change_proportions:
            # as published: only the drawn contours change. The part map keeps the original proportions.
            points = change_proportions(points)
        # as published: maps are resized as uint8; interpolation in float32 rounds differently.
        condition = [
            image_to_tensor(transform.apply(Image.fromarray(array), Image.Resampling.BILINEAR))
            for array in self._iter_condition_maps(points, part_map, image)
        ]
        instance = id_map_to_tensor(
            transform.apply(Image.fromarray(part_map), Image.Resampling.NEAREST), torch.int32
        )
        real = None
        if image is not None:
            real = image_to_tensor(transform.apply(image, Image.Resampling.BICUBIC))
        return FrameSample(torch.cat(condition), real, instance)

    def _iter_condition_maps(
        self, points: Points, part_map: NDArray[np.uint8], image: Image.Image | None
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the edge map, then the distance maps; each is (H, W)."""
        size = part_map.shape[::-1]
        contours = rasterize_contours(points, size)
        edges = np.zeros_like(part_map)
        edges.flat[np.concatenate(contours)] = 255
        if self.uses_canny:
            assert image is not None, "folder_specs asks for the image if Canny edges are used"
            # as published: Canny runs on the whole image, before the crop, and its edges inside the face
            # are removed.
            is_background_edge = feature.canny(np.array(image.convert("L"))) & (part_map == 0)
            # as published: a uint8 sum, which wraps to 254 where a contour meets a Canny edge.
            edges += is_background_edge.astype(np.uint8) * 255
        yield edges
        if self.uses_distance_maps:
            for contour in contours:
                yield compute_distance_map(contour, size)


def add_forehead_points(points: Points) -> Points:
    """Append points 68..82, an approximate forehead.

    The jaw is mirrored at the height of its ends and flattened to two thirds.

    Args:
        points: (68, 2).

    Returns:
        (83, 2); the forehead runs from right to left.
    """
    # as published: the jaw is truncated to integers, the height `base` is not rounded, the division
    # floors, and the result is truncated again when it is stored in the integer array.
    jaw = points[:17].astype(int)
    base = (jaw[0, 1] + jaw[16, 1]) / 2
    forehead = jaw[15:0:-1].copy()
    forehead[:, 1] = base + (base - forehead[:, 1]) * 2 // 3
    return np.vstack([points, forehead])


def draw_part_map(points: Points, size: ImageSize) -> NDArray[np.uint8]:
    """Return the map (H, W) of part ids, 0 outside the face.

    Args:
        points: (83, 2), as returned by `add_forehead_points`.
        size: (w, h) of the map.
    """
    part_map = np.zeros(size[::-1], np.uint8)
    for part in ALL_FACE_PARTS:
        # as published: polygon corners are truncated to integers, not rounded.
        polygon = points[part.point_indices].astype(np.int32)
        cv2.fillPoly(part_map, [polygon], part.label)
    return part_map


def rasterize_contours(points: Points, size: ImageSize) -> list[PixelCoordinates]:
    """Return the pixels of each of the 14 contours, as flat indices into an image of `size` (w, h).

    Args:
        points: (83, 2), as returned by `add_forehead_points`.
        size: (w, h).
    """
    contours = [points[list(contour)] for part in ALL_FACE_PARTS for contour in part.contours]
    return [_rasterize_contour(contour, size) for contour in contours]


def _rasterize_contour(contour: Points, size: ImageSize) -> PixelCoordinates:
    indices = [
        compute_brush_indices(rasterize_curve(triple), FACE_BRUSH, size).ravel()
        for triple in split_into_triples(contour)
    ]
    return np.concatenate(indices)


def change_proportions(points: Points) -> Points:
    """Return (83, 2) points of a face of other proportions.

    Brows and eyes move closer together, then every part is scaled about its center.
    """
    # as published: points that two contours of a part share count twice in the means, and those that
    # the contours of an eye share are moved with each of them, one after the other.
    points = points.copy()
    for pair in (BROWS, EYES):
        pair_center = points[[i for part in pair for i in part.point_indices]].mean(axis=0)
        for contour in (contour for part in pair for contour in part.contours):
            indices = list(contour)
            center = points[indices].mean(axis=0)
            new_center = (center - pair_center) * (PAIR_DISTANCE_SCALE, 1) + pair_center
            points[indices] = points[indices] - center + new_center
    for part in ALL_FACE_PARTS:
        indices = part.point_indices
        center = points[indices].mean(axis=0)
        points[indices] = (points[indices] - center) * part.scale_factors + center
    return points


def compute_crop_box(points: Points, size: Sequence[float]) -> Box:
    """Return the square (left, top, right, bottom) around a face.

    The square is shifted to lie inside the image. If it is larger than the image, it ends at the
    right or bottom border and starts outside the image.

    Args:
        points: (68, 2).
        size: (w, h) of the image; infinite where unknown.
    """
    min_x, min_y = points.min(axis=0).tolist()
    max_x, max_y = points.max(axis=0).tolist()
    # as published: the side depends on the face's width only, and every division floors (floats).
    # The center lies a quarter of the landmarks' height below their top, since landmarks end at the
    # brows and the head does not.
    side = FACE_CROP_SCALE * (max_x - min_x)
    half = side // 2
    x = _shift_center((min_x + max_x) // 2, side, size[0])
    y = _shift_center((3 * min_y + max_y) // 4, side, size[1])
    return int(x - half), int(y - half), int(x + half), int(y + half)


def _shift_center(center: float, side: float, limit: float) -> float:
    """Return the center of an interval of length `side`, moved so that it lies in 0..limit."""
    half = side // 2
    return min(max(0, center - half) + side, limit) - half


def _read_checked_face_points(path: Path, size: ImageSize | None) -> Points:
    """Return (68, 2) landmarks; UserError if all lie outside an image of `size` (w, h)."""
    points = read_face_points(path)
    if size is None:
        return points
    touches_image = (points.max(axis=0) >= 0) & (points.min(axis=0) < size)
    if not touches_image.all():
        raise UserError(
            f"{path}: the face lies outside its {size[0]}x{size[1]} image, its first point at "
            f"{points[0, 0]:g},{points[0, 1]:g}: detect the keypoints on images of this size"
        )
    return points


def _infer_canvas_size(points: Points, box: Box | None) -> ImageSize:
    """Return a (w, h) that holds the face with its brush and the box, if no image gives a size."""
    right, bottom = (points.max(axis=0) + len(FACE_BRUSH)).astype(int).tolist()
    _, _, box_right, box_bottom = box or (0, 0, 0, 0)
    return max(right, box_right, 1), max(bottom, box_bottom, 1)
