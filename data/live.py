"""Conditions of pictures as they come: from a camera, a pipe, a video. One at a time, nothing looked ahead to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image

from data.clips import clip_of
from data.domain import Domain, FrameMaps, Lead
from data.face import Face, crop_box
from data.geometry import Geometry, GeometryConfig, plan_geometry
from data.pictures import picture_tensor
from data.prepare.faces import Landmarks, find_landmarks
from data.prepare.makers import Edges, Maker
from data.street import Street
from util.clip import Clip
from util.errors import UserError

BICUBIC = Image.Resampling.BICUBIC
FrameOf = Callable[[Image.Image], FrameMaps | None]


def live_clips(pictures: Iterable[np.ndarray], domain: Domain, maker: Maker | None,
               geometry: GeometryConfig) -> Iterator[Clip]:
    """Pictures (H, W, 3) uint8 -> a clip (B = T = 1) of each, with the picture itself.

    maker: what turns a picture into its condition; None: it is one already. The geometry is planned from the first.
    A face that is not found stays where it was; pictures before the first one give no clip. UserError: conditions
    that a single picture does not hold (labels, poses).
    """
    frame_of: FrameOf | None = None
    for number, picture in enumerate(pictures, 1):
        image = Image.fromarray(picture)
        frame_of = frame_of or _planned(image, domain, maker, geometry)
        maps = frame_of(image) if frame_of else None
        if maps is not None:
            yield clip_of([maps], [f"live/{number:06}"], domain.levels)


def _planned(image: Image.Image, domain: Domain, maker: Maker | None, config: GeometryConfig) -> FrameOf | None:
    """What draws this frame and those after it; None while there is no face to plan the crop from."""
    if isinstance(domain, Street) and not domain.label_nc and (maker is None or isinstance(maker, Edges)):
        return partial(_street_frame, domain, maker, plan_geometry(Lead(image.size), config, None))
    if isinstance(domain, Face) and isinstance(maker, Landmarks):
        points = find_landmarks(np.asarray(image), maker.upsample)
        return None if points is None else _FaceFrames(domain, maker, config, points, image.size)
    raise UserError("a single picture gives no label map and no pose: live input needs a run that was trained on edges "
                    "or faces (scripts/prepare.py --mode edges or face), or pictures that are conditions themselves")


def _street_frame(street: Street, maker: Edges | None, geometry: Geometry, image: Image.Image) -> FrameMaps:
    condition = image if maker is None else Image.fromarray(maker.edges(np.asarray(image)))
    shown = condition if street.input_nc == 1 else condition.convert("RGB")
    return FrameMaps(street.condition(shown, geometry), picture_tensor(geometry.apply(image, BICUBIC)), None)


class _FaceFrames:
    """Remembers the last face, for the frames in which none is found."""

    def __init__(self, face: Face, maker: Landmarks, config: GeometryConfig, points: np.ndarray,
                 size: tuple[int, int]) -> None:
        box = crop_box(points, size)
        self.geometry = plan_geometry(Lead((box[2] - box[0], box[3] - box[1]), box), config, None)
        self.face, self.maker, self.points = face, maker, points

    def __call__(self, image: Image.Image) -> FrameMaps:
        found = find_landmarks(np.asarray(image), self.maker.upsample)
        self.points = self.points if found is None else found
        return self.face.draw(self.points, image, self.geometry, rescale=self.face.random_scale_points)


def raw_frames(stream: BinaryIO, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 of a pipe's rgb24 frames of `size` (w, h). UserError: it ends inside a frame."""
    width, height = size
    count = width * height * 3
    while data := stream.read(count):
        if len(data) < count:
            raise UserError(f"--input -: the last frame has {len(data)} bytes of {count}; "
                            f"--input_size {width}x{height} must be the size of the pipe's rgb24 frames")
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
