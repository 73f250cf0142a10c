"""Make clips of single images as they arrive from a camera, a pipe or a video, without look-ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image

from data.dataset import make_clip
from data.face import FaceFrameReader, compute_crop_box
from data.frame_reader import FrameReader, FrameSample
from data.image_io import image_to_tensor
from data.prepare.extractors.base import ConditionExtractor
from data.prepare.extractors.edges import EdgeExtractor
from data.prepare.extractors.landmarks import LandmarkExtractor, detect_landmarks
from data.street import StreetFrameReader
from data.transforms import FrameTransform, ReferenceFrame, TransformConfig, sample_transform
from util.clip import Clip
from util.errors import UserError

SampleBuilder = Callable[[Image.Image], FrameSample]


def stream_clips(
    images: Iterable[np.ndarray],
    frame_reader: FrameReader,
    extractor: ConditionExtractor | None,
    transform_config: TransformConfig,
) -> Iterator[Clip]:
    """Yield a clip (B = T = 1), with the image itself as real image, for each image.

    The transform is computed from the first image, or from the first one with a face. Images before
    the first face give no clip. Later, where no face is detected, the last one is used again.

    Args:
        images: (H, W, 3) uint8 RGB, all of one size.
        frame_reader: reader of the dataset mode.
        extractor: computes the condition of an image; None: the images are conditions.
        transform_config: resize and crop.

    Raises:
        UserError: the condition cannot be computed from a single image (labels, poses).
    """
    build_sample: SampleBuilder | None = None
    for number, array in enumerate(images, start=1):
        image = Image.fromarray(array)
        if build_sample is None:
            build_sample = _make_sample_builder(image, frame_reader, extractor, transform_config)
        if build_sample is None:
            continue
        sample = build_sample(image)
        yield make_clip([sample], [f"live/{number:06}"], frame_reader.normalization)


def _make_sample_builder(
    image: Image.Image,
    frame_reader: FrameReader,
    extractor: ConditionExtractor | None,
    transform_config: TransformConfig,
) -> SampleBuilder | None:
    """Return the function for this image and those after it; None if its crop needs a face first."""
    if isinstance(frame_reader, FaceFrameReader) and isinstance(extractor, LandmarkExtractor):
        points = detect_landmarks(np.asarray(image), extractor.upsample)
        if points is None:
            return None
        return _FaceSampleBuilder(frame_reader, extractor, transform_config, points, image.size)
    if (
        isinstance(frame_reader, StreetFrameReader)
        and not frame_reader.label_nc
        and (extractor is None or isinstance(extractor, EdgeExtractor))
    ):
        transform = sample_transform(ReferenceFrame(image.size), transform_config, rng=None)
        return partial(_build_street_sample, frame_reader, extractor, transform)
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
    condition = image
    if extractor is not None:
        condition = Image.fromarray(extractor.extract_edges(np.asarray(image)))
    if frame_reader.input_nc == 3:
        condition = condition.convert("RGB")
    return FrameSample(
        frame_reader.make_condition(condition, transform),
        image_to_tensor(transform.apply(image, Image.Resampling.BICUBIC)),
        instance=None,
    )


class _FaceSampleBuilder:
    """Builds samples of faces; keeps the last landmarks for images without a detected face."""

    def __init__(
        self,
        frame_reader: FaceFrameReader,
        extractor: LandmarkExtractor,
        transform_config: TransformConfig,
        points: np.ndarray,
        size: tuple[int, int],
    ) -> None:
        """Compute the transform from the first face.

        Args:
            frame_reader: draws the landmarks.
            extractor: holds the settings of the detector.
            transform_config: resize and crop.
            points: (68, 2) landmarks of the first face.
            size: (w, h) of the images.
        """
        self.frame_reader = frame_reader
        self.upsample = extractor.upsample
        self.points = points
        box = compute_crop_box(points, size)
        reference = ReferenceFrame((box[2] - box[0], box[3] - box[1]), box)
        self.transform = sample_transform(reference, transform_config, rng=None)

    def __call__(self, image: Image.Image) -> FrameSample:
        points = detect_landmarks(np.asarray(image), self.upsample)
        if points is not None:
            self.points = points
        return self.frame_reader.draw_landmarks(
            self.points,
            image,
            self.transform,
            should_change_proportions=self.frame_reader.random_scale_points,
        )


def read_rgb24_frames(stream: BinaryIO, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3) uint8 of a stream of raw rgb24 video.

    Args:
        stream: for example a pipe from ffmpeg.
        size: (w, h) of the frames.

    Raises:
        UserError: the stream ends inside a frame.
    """
    width, height = size
    n_bytes = width * height * 3
    while data := stream.read(n_bytes):
        if len(data) < n_bytes:
            raise UserError(
                f"--input -: the last frame has {len(data)} bytes of {n_bytes}; "
                f"--input_size {width}x{height} must be the size of the pipe's rgb24 frames"
            )
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
