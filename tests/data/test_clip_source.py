"""Tests of `ClipSource`: the region and files that it names reproduce the pixels of the clip."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from data.dataset import ClipDataset
from data.frame_reader import FrameReader
from data.image_io import image_to_tensor
from data.sampler import ClipPlan
from data.sequences import find_sequences
from data.synthetic import make_toy_data
from data.transforms import TransformConfig
from tests.frame_readers import FACE_READER, POSE_READER, STREET_READER
from util.clip import Clip

DENSEPOSE_READER = replace(POSE_READER, uses_openpose=False)


def read_region(path: Path, clip: Clip) -> torch.Tensor:
    """Cut the source region out of an image file and resize it in one step.

    Pillow's resize accepts a box with fractions, but only inside the image: hence the margin.
    """
    assert clip.source is not None
    margin = 200
    box = tuple(side + margin for side in clip.source.box)
    image = ImageOps.expand(Image.open(path).convert("RGB"), margin)
    height, width = clip.condition.shape[-2:]
    image = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return image_to_tensor(ImageOps.mirror(image) if clip.source.is_flipped else image)


@pytest.mark.parametrize(
    ("mode", "reader", "config"),
    [
        (
            "street",
            STREET_READER,
            TransformConfig(160, 96, "scaleWidth_and_scaledCrop", uses_flip=True),
        ),
        (
            "street",
            STREET_READER,
            TransformConfig(96, 64, "randomScaleWidth_and_crop", uses_flip=True),
        ),
        ("street", STREET_READER, TransformConfig(96, 64, "none", uses_flip=True)),
        ("face", FACE_READER, TransformConfig(64, 64, "resize", uses_flip=True)),
        ("pose", DENSEPOSE_READER, TransformConfig(256, 128, "scaleHeight", uses_flip=False)),
    ],
)
def test_source_describes_the_region_and_frames_of_a_clip(
    mode: str, reader: FrameReader, config: TransformConfig, tmp_path: Path
) -> None:
    make_toy_data(mode, tmp_path, sequences=1, frames=2)
    sequences = find_sequences(tmp_path, "train", reader.folder_specs(uses_images=True))
    clips: list[Clip] = []

    def record(clip: Clip) -> Clip:
        clips.append(clip)
        return clip

    dataset = ClipDataset(reader, sequences, config, add_flow=record)
    for seed in range(4):
        # The result has no source, since a batch of clips could not hold it.
        assert dataset[ClipPlan(0, (0, 1), 1, (seed,))].source is None
    assert mode == "pose" or {clip.source.is_flipped for clip in clips} == {True, False}
    for clip in clips:
        for frame, path in enumerate(clip.source.files):
            error = (read_region(path, clip).float() - clip.image[0, frame]).abs()
            # Without the border, where the resize filter is truncated. In units of 0..255; a shift
            # by half a pixel would give 1.9.
            assert error[:, 4:-4, 4:-4].mean() < 0.12
