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

from data.domain import FrameMaps, FramePaths, Lead, Stream
from data.drawing import Curve, Points, curve, distance_map, pieces, square, stamps
from data.geometry import Box, Geometry, Size
from data.keypoints import read_face_points
from data.pictures import map_tensor, open_picture, picture_size, picture_tensor
from util.errors import UserError
from util.levels import Levels, unit
from util.pictures import edge_picture

PEN = square(-1, 1)
CROP_SIDE = 2.5  # of the face's width
WIDEST = 2**13  # px of a crop; a stray point would make one that fills the memory


@dataclass(frozen=True)
class Part:
    """A part of the face. label: its id in the part map. runs: the contours that bound it, as point numbers.
    scale: the (x, y) factors of `random_scale_points`."""

    label: int
    runs: tuple[tuple[int, ...], ...]
    scale: tuple[float, float]

    @property
    def listed(self) -> list[int]:
        """All its point numbers; those where runs meet are repeated, and count so in a mean."""
        return [number for run in self.runs for number in run]


OUTLINE = Part(1, ((*range(17), *range(68, 83), 0),), (0.9, 1))
BROWS = (Part(2, (tuple(range(17, 22)),), (1, 1)), Part(2, (tuple(range(22, 27)),), (1, 1)))
NOSE = Part(3, ((28, 31), tuple(range(31, 36)), (35, 28)), (0.9, 1))
EYES = (
    Part(4, ((36, 37, 38, 39), (39, 40, 41, 36)), (1, 1.1)),
    Part(4, ((42, 43, 44, 45), (45, 46, 47, 42)), (1, 1.1)),
)
MOUTH = Part(5, (tuple(range(48, 55)), (54, 55, 56, 57, 58, 59, 48)), (0.9, 0.9))
LIPS = Part(6, (tuple(range(60, 65)), (64, 65, 66, 67, 60)), (0.9, 0.9))
PARTS = (OUTLINE, *BROWS, NOSE, *EYES, MOUTH, LIPS)
TOGETHER = 0.9  # how far brows, and eyes, keep from their common middle under `random_scale_points`


@dataclass(frozen=True)
class Face:
    """canny: edges of the picture outside the face are added to the edge map.
    distance_maps: a distance map of each contour follows the edge map: 15 channels, else 1.
    random_scale_points: test draws a face of other proportions (not random)."""

    canny: bool
    distance_maps: bool
    random_scale_points: bool

    @property
    def levels(self) -> Levels:
        return unit

    def streams(self, picture: bool) -> dict[str, Stream]:
        keypoints = {"condition": Stream("keypoints", (".txt",))}
        return keypoints | {"picture": Stream("img")} if picture or self.canny else keypoints

    def lead(self, paths: FramePaths, train: bool) -> Lead:
        """Cuts the surroundings of the first frame's face. A run that reads no pictures knows of no right and bottom
        border: there the box is not pushed back inside, as if the picture were large enough."""
        size = picture_size(paths["picture"]) if "picture" in paths else None
        points = _face_points(paths["condition"], size)
        box = crop_box(points, size or (np.inf, np.inf))
        w, h = box[2] - box[0], box[3] - box[1]
        if not 0 < w <= WIDEST:
            raise UserError(f"{paths['condition']}: a face {np.ptp(points[:, 0]):g} px wide; expected 1 to "
                            f"{WIDEST / CROP_SIDE:g}: detect that frame's keypoints again or drop the frame")
        return Lead((w, h), box)

    def read(self, paths: FramePaths, geometry: Geometry, rng: np.random.Generator | None) -> FrameMaps:
        picture = open_picture(paths["picture"]) if "picture" in paths else None
        points = _face_points(paths["condition"], picture.size if picture else None)
        return self.draw(points, picture, geometry, rescale=self.random_scale_points and rng is None)

    def draw(self, points: Points, picture: Image.Image | None, geometry: Geometry, rescale: bool) -> FrameMaps:
        """A frame of landmarks (68, 2). rescale: draw a face of other proportions."""
        points = with_forehead(points)
        size = picture.size if picture else _canvas_size(points, geometry.box)
        parts = part_map(points, size)
        if rescale:
            points = rescaled(points)
        maps = self._maps(points, parts, picture)
        return FrameMaps(
            torch.cat([picture_tensor(geometry.apply(Image.fromarray(m), Image.Resampling.BILINEAR)) for m in maps]),
            picture_tensor(geometry.apply(picture, Image.Resampling.BICUBIC)) if picture else None,
            map_tensor(geometry.apply(Image.fromarray(parts), Image.Resampling.NEAREST), torch.int32),
        )

    def check(self, paths: FramePaths) -> None:
        if "picture" in paths:
            open_picture(paths["picture"])
        self.lead(paths, train=True)  # any frame may be a clip's first

    def show(self, condition: Tensor) -> np.ndarray:
        """The edge map."""
        return edge_picture(unit(condition[0]))

    def _maps(self, points: Points, parts: NDArray[np.uint8], picture: Image.Image | None
              ) -> Iterator[NDArray[np.uint8]]:
        """The edge map, then the distance maps."""
        runs = drawn_runs(points, parts.shape[::-1])
        edges = np.zeros_like(parts)
        edges.flat[np.concatenate(runs)] = 255
        if self.canny:
            assert picture is not None, "streams() asks for it"
            background = feature.canny(np.array(picture.convert("L"))) & (parts == 0)
            edges += background.astype(np.uint8) * 255  # wraps to 254 where both are set, as published
        yield edges
        if self.distance_maps:
            yield from (distance_map(run, parts.shape[::-1]) for run in runs)


def with_forehead(points: Points) -> Points:
    """(83, 2): points 68..82 mirror the jaw at the height of its ends, flattened to two thirds, right to left."""
    jaw = points[:17].astype(int)
    base = (jaw[0, 1] + jaw[16, 1]) / 2
    brow = jaw[15:0:-1].copy()
    brow[:, 1] = base + (base - brow[:, 1]) * 2 // 3
    return np.vstack([points, brow])


def part_map(points: Points, size: Size) -> NDArray[np.uint8]:
    """(H, W) ids of the face's parts, 0 outside. points: (83, 2). size: (w, h)."""
    parts = np.zeros(size[::-1], np.uint8)
    for part in PARTS:
        cv2.fillPoly(parts, [points[part.listed].astype(np.int32)], part.label)
    return parts


def drawn_runs(points: Points, size: Size) -> list[Curve]:
    """For each of the 14 runs the flat indices, into a picture of `size`, of the pixels it covers. points: (83, 2)."""
    runs = [points[list(run)] for part in PARTS for run in part.runs]
    return [np.concatenate([stamps(curve(piece), PEN, size).ravel() for piece in pieces(run)]) for run in runs]


def rescaled(points: Points) -> Points:
    """(83, 2) points of a face of other proportions: brows and eyes nearer together, then each part scaled."""
    points = points.copy()
    for pair in (BROWS, EYES):
        middle = points[[number for part in pair for number in part.listed]].mean(axis=0)
        for run in (run for part in pair for run in part.runs):
            own = points[list(run)].mean(axis=0)
            points[list(run)] = points[list(run)] - own + ((own - middle) * (TOGETHER, 1) + middle)
    for part in PARTS:
        middle = points[part.listed].mean(axis=0)
        points[part.listed] = (points[part.listed] - middle) * part.scale + middle
    return points


def crop_box(points: Points, size: Sequence[float]) -> Box:
    """The square around a face. points: (68, 2). size: (w, h) of the picture, which the box is kept inside of where it
    fits; a side that does not fit begins before the picture."""
    (min_x, min_y), (max_x, max_y) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    side = CROP_SIDE * (max_x - min_x)
    half = side // 2
    x, y = ((min(max(0, middle - half) + side, limit) - half)
            for middle, limit in zip(((min_x + max_x) // 2, (3 * min_y + max_y) // 4), size, strict=True))
    return int(x - half), int(y - half), int(x + half), int(y + half)


def _face_points(path: Path, size: Size | None) -> Points:
    """(68, 2); refused where they have nothing to do with the picture of `size` (w, h)."""
    points = read_face_points(path)
    if size is not None and not ((points.max(axis=0) >= 0) & (points.min(axis=0) < size)).all():
        raise UserError(f"{path}: the face lies outside its {size[0]}x{size[1]} picture, its first point at "
                        f"{points[0, 0]:g},{points[0, 1]:g}: detect the keypoints on pictures of this size")
    return points


def _canvas_size(points: Points, box: Box | None) -> Size:
    """Where no picture gives the size: room for the face, its pen and the box."""
    right, bottom = (points.max(axis=0) + len(PEN)).astype(int).tolist()
    return max(right, box[2] if box else 0, 1), max(bottom, box[3] if box else 0, 1)
