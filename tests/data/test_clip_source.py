from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from data.dataset import ClipDataset
from data.face import FaceFrameReader
from data.frame_reader import FrameReader
from data.image_io import image_to_tensor
from data.pose import PoseFrameReader
from data.sampler import ClipPlan
from data.sequences import find_sequences
from data.street import StreetFrameReader
from data.synthetic import make_toy_data
from data.transforms import TransformConfig
from util.clip import Clip

STREET = StreetFrameReader(label_nc=35, input_nc=3, use_instance=False)
FACE = FaceFrameReader(uses_canny=False, uses_distance_maps=False, random_scale_points=False)
POSE = PoseFrameReader(
    uses_densepose=True,
    uses_openpose=False,
    uses_basic_points=False,
    remove_face_labels=False,
    drop_prob=0,
    person_selection="all",
)


def shown_by_source(path: Path, clip: Clip) -> torch.Tensor:
    """The part of an image file that the source names, resized at once: Pillow takes boxes with fractions."""
    assert clip.source is not None
    margin = 200
    box = tuple(side + margin for side in clip.source.box)
    image = ImageOps.expand(Image.open(path).convert("RGB"), margin)
    height, width = clip.condition.shape[-2:]
    image = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return image_to_tensor(ImageOps.mirror(image) if clip.source.is_flipped else image)


@pytest.mark.parametrize(
    ("mode", "domain", "geometry"),
    [
        ("street", STREET, TransformConfig(160, 96, "scaleWidth_and_scaledCrop", uses_flip=True)),
        ("street", STREET, TransformConfig(96, 64, "randomScaleWidth_and_crop", uses_flip=True)),
        ("street", STREET, TransformConfig(96, 64, "none", uses_flip=True)),
        ("face", FACE, TransformConfig(64, 64, "resize", uses_flip=True)),
        ("pose", POSE, TransformConfig(256, 128, "scaleHeight", uses_flip=False)),
    ],
)
def test_source_describes_the_region_and_frames_of_a_clip(
    mode: str, domain: FrameReader, geometry: TransformConfig, tmp_path: Path
) -> None:
    make_toy_data(mode, tmp_path, sequences=1, frames=2)
    sequences = find_sequences(tmp_path, "train", domain.folder_specs(uses_images=True))
    seen: list[Clip] = []
    dataset = ClipDataset(
        domain, sequences, geometry, add_flow=lambda clip: seen.append(clip) or clip
    )
    for seed in range(4):
        assert (
            dataset[ClipPlan(0, (0, 1), 1, (seed,))].source is None
        )  # a batch of clips could not hold it
    assert mode == "pose" or {clip.source.is_flipped for clip in seen} == {True, False}
    for clip in seen:
        for frame, path in enumerate(clip.source.files):
            error = (shown_by_source(path, clip).float() - clip.image[0, frame]).abs()[
                :, 4:-4, 4:-4
            ]  # filters end
            assert error.mean() < 0.12  # of 255 levels; half a pixel off would leave 1.9
