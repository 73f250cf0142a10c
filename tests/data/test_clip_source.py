from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from data.clips import ClipDataset
from data.domain import Domain
from data.face import Face
from data.geometry import GeometryConfig
from data.pictures import picture_tensor
from data.pose import Pose
from data.sampling import ClipPlan
from data.sequences import find_sequences
from data.street import Street
from data.toy import make_toy_data
from util.clip import Clip

STREET = Street(label_nc=35, input_nc=3, use_instance=False)
FACE = Face(canny=False, distance_maps=False, random_scale_points=False)
POSE = Pose(densepose=True, openpose=False, basic_points=False, remove_face_labels=False, drop_prob=0, people="all")


def shown_by_source(path: Path, clip: Clip) -> torch.Tensor:
    """The part of a picture file that the source names, resized at once: Pillow takes boxes with fractions."""
    assert clip.source is not None
    margin = 200
    box = tuple(side + margin for side in clip.source.box)
    image = ImageOps.expand(Image.open(path).convert("RGB"), margin)
    height, width = clip.condition.shape[-2:]
    image = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return picture_tensor(ImageOps.mirror(image) if clip.source.flip else image)


@pytest.mark.parametrize(("mode", "domain", "geometry"), [
    ("street", STREET, GeometryConfig(160, 96, "scaleWidth_and_scaledCrop", flip=True)),
    ("street", STREET, GeometryConfig(96, 64, "randomScaleWidth_and_crop", flip=True)),
    ("street", STREET, GeometryConfig(96, 64, "none", flip=True)),
    ("face", FACE, GeometryConfig(64, 64, "resize", flip=True)),
    ("pose", POSE, GeometryConfig(256, 128, "scaleHeight", flip=False)),
])
def test_the_source_says_what_a_clip_shows(mode: str, domain: Domain, geometry: GeometryConfig, tmp_path: Path) -> None:
    make_toy_data(mode, tmp_path, sequences=1, frames=2)
    sequences = find_sequences(tmp_path, "train", domain.streams(picture=True))
    seen: list[Clip] = []
    dataset = ClipDataset(domain, sequences, geometry, annotate=lambda clip: seen.append(clip) or clip)
    for seed in range(4):
        assert dataset[ClipPlan(0, (0, 1), 1, (seed,))].source is None  # a batch of clips could not hold it
    assert mode == "pose" or {clip.source.flip for clip in seen} == {True, False}
    for clip in seen:
        for frame, path in enumerate(clip.source.files):
            error = (shown_by_source(path, clip).float() - clip.picture[0, frame]).abs()[:, 4:-4, 4:-4]  # filters end
            assert error.mean() < 0.12  # of 255 levels; half a pixel off would leave 1.9
