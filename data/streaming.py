"""Conditions of images as they come: from a camera, a pipe, a video. One at a time, nothing looked ahead to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image

from data.dataset import make_clip
from data.face import FaceFrameReader, compute_crop_box
from data.frame_reader import FrameReader, FrameSample, ReferenceFrame
from data.image_io import image_to_tensor
from data.prepare.extractors.base import ConditionExtractor
from data.prepare.extractors.edges import EdgeExtractor
from data.prepare.extractors.landmarks import LandmarkExtractor, detect_landmarks
from data.street import StreetFrameReader
from data.transforms import FrameTransform, TransformConfig, sample_transform
from util.clip import Clip
from util.errors import UserError

_BICUBIC = Image.Resampling.BICUBIC
SampleBuilder = Callable[[Image.Image], FrameSample | None]


def stream_clips(
    images: Iterable[np.ndarray],
    frame_reader: FrameReader,
    extractor: ConditionExtractor | None,
    transform_config: TransformConfig,
) -> Iterator[Clip]:
    """Images (H, W, 3) uint8 -> a clip (B = T = 1) of each, with the image itself.

    maker: what turns an image into its condition; None: it is one already. The geometry is planned from the first.
    A face that is not found stays where it was; images before the first one give no clip. UserError: conditions
    that a single image does not hold (labels, poses).
    """
    frame_of: SampleBuilder | None = None
    for number, array in enumerate(images, 1):
        image = Image.fromarray(array)
        frame_of = frame_of or _make_sample_builder(
            image, frame_reader, extractor, transform_config
        )
        maps = frame_of(image) if frame_of else None
        if maps is not None:
            yield make_clip([maps], [f"live/{number:06}"], frame_reader.normalization)


def _make_sample_builder(
    image: Image.Image,
    frame_reader: FrameReader,
    extractor: ConditionExtractor | None,
    transform_config: TransformConfig,
) -> SampleBuilder | None:
    """What draws this frame and those after it; None while there is no face to plan the crop from."""
    if (
        isinstance(frame_reader, StreetFrameReader)
        and not frame_reader.label_nc
        and (extractor is None or isinstance(extractor, EdgeExtractor))
    ):
        return partial(
            _build_street_sample,
            frame_reader,
            extractor,
            sample_transform(ReferenceFrame(image.size), transform_config, None),
        )
    if isinstance(frame_reader, FaceFrameReader) and isinstance(extractor, LandmarkExtractor):
        points = detect_landmarks(np.asarray(image), extractor.upsample)
        return (
            None
            if points is None
            else _FaceSampleBuilder(frame_reader, extractor, transform_config, points, image.size)
        )
    raise UserError(
        "a single image gives no label map and no pose: live input needs a run that was trained on edges "
        "or faces (scripts/prepare.py --mode edges or face), or images that are conditions themselves"
    )


def _build_street_sample(
    frame_reader: StreetFrameReader,
    extractor: EdgeExtractor | None,
    transform: FrameTransform,
    image: Image.Image,
) -> FrameSample:
    condition = (
        image if extractor is None else Image.fromarray(extractor.extract_edges(np.asarray(image)))
    )
    shown = condition if frame_reader.input_nc == 1 else condition.convert("RGB")
    return FrameSample(
        frame_reader.make_condition(shown, transform),
        image_to_tensor(transform.apply(image, _BICUBIC)),
        None,
    )


class _FaceSampleBuilder:
    """Remembers the last face, for the frames in which none is found."""

    def __init__(
        self,
        frame_reader: FaceFrameReader,
        extractor: LandmarkExtractor,
        transform_config: TransformConfig,
        points: np.ndarray,
        size: tuple[int, int],
    ) -> None:
        box = compute_crop_box(points, size)
        self.transform = sample_transform(
            ReferenceFrame((box[2] - box[0], box[3] - box[1]), box), transform_config, None
        )
        self.face, self.maker, self.points = frame_reader, extractor, points

    def __call__(self, image: Image.Image) -> FrameSample:
        found = detect_landmarks(np.asarray(image), self.maker.upsample)
        self.points = self.points if found is None else found
        return self.face.draw_landmarks(
            self.points,
            image,
            self.transform,
            should_change_proportions=self.face.random_scale_points,
        )


def read_rgb24_frames(stream: BinaryIO, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 of a pipe's rgb24 frames of `size` (w, h). UserError: it ends inside a frame."""
    width, height = size
    count = width * height * 3
    while data := stream.read(count):
        if len(data) < count:
            raise UserError(
                f"--input -: the last frame has {len(data)} bytes of {count}; "
                f"--input_size {width}x{height} must be the size of the pipe's rgb24 frames"
            )
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
