"""Faces: 68 landmarks -> edge map, distance maps and part map (SPEC 4)."""

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
from data.frame_reader import FolderSpec, FramePaths, FrameSample, ReferenceFrame
from data.image_io import id_map_to_tensor, image_to_tensor, open_image, read_image_size
from data.keypoints import read_face_points
from data.transforms import Box, FrameTransform, ImageSize
from util.errors import UserError
from util.images.normalization import PixelNormalization, normalize_to_01
from util.images.visualization import gray_to_rgb

FACE_BRUSH = make_square_brush(-1, 1)
FACE_CROP_SCALE = 2.5  # of the face's width
MAX_FACE_CROP_SIDE = 2**13  # px of a crop; a stray point would make one that fills the memory


@dataclass(frozen=True)
class FacePart:
    """A part of the face. label: its id in the part map. runs: the contours that bound it, as point numbers.
    scale: the (x, y) factors of `random_scale_points`."""

    label: int
    contours: tuple[tuple[int, ...], ...]
    scale_factors: tuple[float, float]

    @property
    def point_indices(self) -> list[int]:
        """All its point numbers; those where runs meet are repeated, and count so in a mean."""
        return [number for run in self.contours for number in run]


OUTLINE = FacePart(1, ((*range(17), *range(68, 83), 0),), (0.9, 1))
BROWS = (FacePart(2, (tuple(range(17, 22)),), (1, 1)), FacePart(2, (tuple(range(22, 27)),), (1, 1)))
NOSE = FacePart(3, ((28, 31), tuple(range(31, 36)), (35, 28)), (0.9, 1))
EYES = (
    FacePart(4, ((36, 37, 38, 39), (39, 40, 41, 36)), (1, 1.1)),
    FacePart(4, ((42, 43, 44, 45), (45, 46, 47, 42)), (1, 1.1)),
)
MOUTH = FacePart(5, (tuple(range(48, 55)), (54, 55, 56, 57, 58, 59, 48)), (0.9, 0.9))
LIPS = FacePart(6, (tuple(range(60, 65)), (64, 65, 66, 67, 60)), (0.9, 0.9))
ALL_FACE_PARTS = (OUTLINE, *BROWS, NOSE, *EYES, MOUTH, LIPS)
PAIR_DISTANCE_SCALE = (
    0.9  # how far brows, and eyes, keep from their common middle under `random_scale_points`
)


@dataclass(frozen=True)
class FaceFrameReader:
    """canny: edges of the image outside the face are added to the edge map.
    distance_maps: a distance map of each contour follows the edge map: 15 channels, else 1.
    random_scale_points: test draws a face of other proportions (not random)."""

    uses_canny: bool
    uses_distance_maps: bool
    random_scale_points: bool

    @property
    def normalization(self) -> PixelNormalization:
        return normalize_to_01

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        keypoints = {"condition": FolderSpec("keypoints", (".txt",))}
        return (
            keypoints | {"image": FolderSpec("img")}
            if uses_images or self.uses_canny
            else keypoints
        )

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        """Cuts the surroundings of the first frame's face. A run that reads no images knows of no right and bottom
        border: there the box is not pushed back inside, as if the image were large enough."""
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
        image = open_image(paths["image"]) if "image" in paths else None
        points = _read_checked_face_points(paths["condition"], image.size if image else None)
        return self.draw_landmarks(
            points,
            image,
            transform,
            should_change_proportions=self.random_scale_points and rng is None,
        )

    def draw_landmarks(
        self,
        points: Points,
        image: Image.Image | None,
        transform: FrameTransform,
        should_change_proportions: bool,
    ) -> FrameSample:
        """A frame of landmarks (68, 2). rescale: draw a face of other proportions."""
        points = add_forehead_points(points)
        size = image.size if image else _infer_canvas_size(points, transform.box)
        parts = draw_part_map(points, size)
        if should_change_proportions:
            points = change_proportions(points)
        maps = self._iter_condition_maps(points, parts, image)
        return FrameSample(
            torch.cat(
                [
                    image_to_tensor(transform.apply(Image.fromarray(m), Image.Resampling.BILINEAR))
                    for m in maps
                ]
            ),
            image_to_tensor(transform.apply(image, Image.Resampling.BICUBIC)) if image else None,
            id_map_to_tensor(
                transform.apply(Image.fromarray(parts), Image.Resampling.NEAREST), torch.int32
            ),
        )

    def validate_files(self, paths: FramePaths) -> None:
        if "image" in paths:
            open_image(paths["image"])
        self.read_reference_frame(paths, is_train=True)  # any frame may be a clip's first

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """The edge map."""
        return gray_to_rgb(normalize_to_01(condition[0]))

    def _iter_condition_maps(
        self, points: Points, part_map: NDArray[np.uint8], image: Image.Image | None
    ) -> Iterator[NDArray[np.uint8]]:
        """The edge map, then the distance maps."""
        runs = rasterize_contours(points, part_map.shape[::-1])
        edges = np.zeros_like(part_map)
        edges.flat[np.concatenate(runs)] = 255
        if self.uses_canny:
            assert image is not None, "streams() asks for it"
            background = feature.canny(np.array(image.convert("L"))) & (part_map == 0)
            edges += (
                background.astype(np.uint8) * 255
            )  # wraps to 254 where both are set, as published
        yield edges
        if self.uses_distance_maps:
            yield from (compute_distance_map(run, part_map.shape[::-1]) for run in runs)


def add_forehead_points(points: Points) -> Points:
    """(83, 2): points 68..82 mirror the jaw at the height of its ends, flattened to two thirds, right to left."""
    jaw = points[:17].astype(int)
    base = (jaw[0, 1] + jaw[16, 1]) / 2
    brow = jaw[15:0:-1].copy()
    brow[:, 1] = base + (base - brow[:, 1]) * 2 // 3
    return np.vstack([points, brow])


def draw_part_map(points: Points, size: ImageSize) -> NDArray[np.uint8]:
    """(H, W) ids of the face's parts, 0 outside. points: (83, 2). size: (w, h)."""
    parts = np.zeros(size[::-1], np.uint8)
    for part in ALL_FACE_PARTS:
        cv2.fillPoly(parts, [points[part.point_indices].astype(np.int32)], part.label)
    return parts


def rasterize_contours(points: Points, size: ImageSize) -> list[PixelCoordinates]:
    """For each of the 14 runs the flat indices, into an image of `size`, of the pixels it covers. points: (83, 2)."""
    runs = [points[list(run)] for part in ALL_FACE_PARTS for run in part.contours]
    return [
        np.concatenate(
            [
                compute_brush_indices(rasterize_curve(piece), FACE_BRUSH, size).ravel()
                for piece in split_into_triples(run)
            ]
        )
        for run in runs
    ]


def change_proportions(points: Points) -> Points:
    """(83, 2) points of a face of other proportions: brows and eyes nearer together, then each part scaled."""
    points = points.copy()
    for pair in (BROWS, EYES):
        middle = points[[number for part in pair for number in part.point_indices]].mean(axis=0)
        for run in (run for part in pair for run in part.contours):
            own = points[list(run)].mean(axis=0)
            points[list(run)] = (
                points[list(run)] - own + ((own - middle) * (PAIR_DISTANCE_SCALE, 1) + middle)
            )
    for part in ALL_FACE_PARTS:
        middle = points[part.point_indices].mean(axis=0)
        points[part.point_indices] = (
            points[part.point_indices] - middle
        ) * part.scale_factors + middle
    return points


def compute_crop_box(points: Points, size: Sequence[float]) -> Box:
    """The square around a face. points: (68, 2). size: (w, h) of the image, which the box is kept inside of where it
    fits; a side that does not fit begins before the image."""
    (min_x, min_y), (max_x, max_y) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    side = FACE_CROP_SCALE * (max_x - min_x)
    half = side // 2
    x, y = (
        (min(max(0, middle - half) + side, limit) - half)
        for middle, limit in zip(
            ((min_x + max_x) // 2, (3 * min_y + max_y) // 4), size, strict=True
        )
    )
    return int(x - half), int(y - half), int(x + half), int(y + half)


def _read_checked_face_points(path: Path, size: ImageSize | None) -> Points:
    """(68, 2); refused where they have nothing to do with the image of `size` (w, h)."""
    points = read_face_points(path)
    if size is not None and not ((points.max(axis=0) >= 0) & (points.min(axis=0) < size)).all():
        raise UserError(
            f"{path}: the face lies outside its {size[0]}x{size[1]} image, its first point at "
            f"{points[0, 0]:g},{points[0, 1]:g}: detect the keypoints on images of this size"
        )
    return points


def _infer_canvas_size(points: Points, box: Box | None) -> ImageSize:
    """Where no image gives the size: room for the face, its pen and the box."""
    right, bottom = (points.max(axis=0) + len(FACE_BRUSH)).astype(int).tolist()
    return max(right, box[2] if box else 0, 1), max(bottom, box[3] if box else 0, 1)
