"""Clips are bytes until they reach a device, and then, to the last bit, the numbers that the formulas give in numpy."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from data.dataset import ClipDataset, SequenceReader
from data.drawing import compute_distance_map
from data.face import FaceFrameReader, add_forehead_points, rasterize_contours
from data.frame_reader import FrameReader
from data.image_io import open_image_unconverted
from data.keypoints import read_face_points
from data.loader import build_dataloader
from data.pose import PoseFrameReader
from data.sampler import ClipPlan
from data.sequences import find_sequences
from data.street import StreetFrameReader
from data.synthetic import make_toy_data
from data.transforms import TransformConfig
from models.networks.input_encoding import pad_clip
from util.clip import Clip

CPU = torch.device("cpu")
AS_STORED = TransformConfig(64, 64, "none", uses_flip=False)
LABELS, RGB, GREY = (
    StreetFrameReader(35, 3, use_instance=True),
    StreetFrameReader(0, 3, use_instance=False),
    StreetFrameReader(0, 1, use_instance=False),
)
FACE = FaceFrameReader(uses_canny=False, uses_distance_maps=True, random_scale_points=False)
POSE = PoseFrameReader(
    uses_densepose=True,
    uses_openpose=True,
    uses_basic_points=False,
    remove_face_labels=False,
    drop_prob=0,
    person_selection="all",
)
DENSEPOSE = PoseFrameReader(
    uses_densepose=True,
    uses_openpose=False,
    uses_basic_points=False,
    remove_face_labels=False,
    drop_prob=0,
    person_selection="all",
)
Numbers = NDArray[np.float32]


def signed(pixels: NDArray[np.uint8]) -> Numbers:
    return (pixels.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)


def image(path: Path, mode: str = "RGB") -> NDArray[np.uint8]:
    """(C, H, W)"""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)


def middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = pixels.shape[-1]
    return pixels[..., width // 2 - width // 4 // 32 * 32 : width // 2 + width // 4 // 32 * 32]


def parts(pixels: NDArray[np.uint8]) -> Numbers:
    """DensePose's numbers: of the third channel 0..24 become -1..1."""
    numbers = signed(pixels)
    unit = numbers[2] * np.float32(0.5) + np.float32(0.5)
    numbers[2] = (unit * np.float32(255) / np.float32(24) - np.float32(0.5)) / np.float32(0.5)
    return numbers


def face_maps(paths: dict[str, Path]) -> Numbers:
    """Edges and distances, cut out as the reader cuts them."""
    box = FACE.read_reference_frame(paths, is_train=False).box
    height, width = image(paths["image"]).shape[1:]
    runs = rasterize_contours(
        add_forehead_points(read_face_points(paths["condition"])), (width, height)
    )
    edges = np.zeros((height, width), np.uint8)
    edges.flat[np.concatenate(runs)] = 255
    drawn = [edges, *(compute_distance_map(run, (width, height)) for run in runs)]
    return np.stack([np.asarray(Image.fromarray(m).crop(box)) for m in drawn]).astype(
        np.float32
    ) / np.float32(255)


CONDITIONS: dict[str, tuple[str, FrameReader, Callable[[dict[str, Path]], np.ndarray]]] = {
    "labels": (
        "street",
        LABELS,
        lambda paths: np.asarray(open_image_unconverted(paths["condition"]))[None],
    ),
    "RGB": ("street", RGB, lambda paths: signed(image(paths["condition"]))),
    "grey": ("street", GREY, lambda paths: signed(image(paths["condition"], "L"))),
    "face": ("face", FACE, face_maps),
    "pose": ("pose", DENSEPOSE, lambda paths: parts(middle(image(paths["densepose"])))),
}


def toy(mode: str, domain: FrameReader, root: Path) -> ClipDataset:
    make_toy_data(mode, root, sequences=1, frames=3, size=(256, 128))
    return ClipDataset(
        domain, find_sequences(root, "train", domain.folder_specs(uses_images=True)), AS_STORED
    )


@pytest.mark.parametrize("name", CONDITIONS)
def test_normalization_on_device_is_bitwise_equal_to_its_formula(name: str, tmp_path: Path) -> None:
    mode, domain, condition = CONDITIONS[name]
    (sequence,) = toy(mode, domain, tmp_path).sequences
    for number, clip in enumerate(SequenceReader(domain, sequence, AS_STORED)):
        paths, there = dict(sequence.paths(number)), clip.to(CPU)
        assert clip.condition.dtype == clip.image.dtype == torch.uint8
        if name != "face":  # its crop follows the first frame
            shown = image(paths["image"])
            assert np.array_equal(
                there.image[0, 0], signed(middle(shown) if mode == "pose" else shown)
            )
        if name != "face" or number == 0:
            expected = condition(paths)
            assert there.condition.numpy().dtype == expected.dtype
            assert np.array_equal(there.condition[0, 0], expected)
        again = there.to(CPU)
        assert torch.equal(again.condition, there.condition) and torch.equal(
            again.image, there.image
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("domain", [FACE, RGB, POSE])
def test_all_256_uint8_values_normalize_equally_on_cpu_and_gpu(domain: FrameReader) -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(6, 1, 256)
    assert domain.normalization is not None
    assert torch.equal(domain.normalization(levels.cuda()).cpu(), domain.normalization(levels))


def test_openpose_channels_follow_densepose_with_their_own_normalization(tmp_path: Path) -> None:
    clip = next(iter(SequenceReader(POSE, toy("pose", POSE, tmp_path).sequences[0], AS_STORED)))
    condition = clip.condition[0, 0].numpy()
    assert condition[2].max() == 24 and condition[5].any()
    expected = np.concatenate([parts(condition[:3]), signed(condition[3:])])
    assert np.array_equal(clip.to(CPU).condition[0, 0], expected)


@pytest.mark.parametrize(
    ("mode", "domain", "pixel"),
    [
        ("face", FACE, 15 + 3 + 4),
        ("pose", POSE, 6 + 3),
        ("street", RGB, 3 + 3),
        ("street", LABELS, 1 + 3 + 4),
    ],
)
def test_batch_is_transferred_as_uint8(
    mode: str, domain: FrameReader, pixel: int, tmp_path: Path
) -> None:
    """pixel: bytes of condition, image and int32 instance."""
    clips = toy(mode, domain, tmp_path)
    plan = ClipPlan(0, (0, 1, 2), 1, (0,))
    batch = next(build_dataloader(clips, [[plan, plan]], num_workers=1))
    maps = [
        tensor for tensor in (batch.condition, batch.image, batch.instance) if tensor is not None
    ]
    height, width = batch.condition.shape[-2:]
    assert sum(tensor.nbytes for tensor in maps) == 2 * 3 * height * width * pixel
    alone = clips[plan].to(CPU)
    assert torch.equal(batch.to(CPU).condition, torch.cat([alone.condition] * 2))


def test_cropping_padding_and_stacking_commute_with_normalization(tmp_path: Path) -> None:
    clip = toy("pose", POSE, tmp_path)[ClipPlan(0, (0, 1, 2), 1, (0,))]

    def changed(clip: Clip) -> Clip:
        return pad_clip(Clip.stack([clip, clip]).slice_batch(0, 1).slice_frames(1, 3), 96)

    early, late = changed(pickle.loads(pickle.dumps(clip))).to(CPU), changed(clip.to(CPU))
    assert early.condition.shape[-1] % 96 == 0 and torch.equal(early.condition, late.condition)
    assert torch.equal(early.image, late.image)


@pytest.mark.parametrize(
    ("mode", "domain"), [("face", FACE), ("pose", POSE), ("street", RGB), ("street", GREY)]
)
def test_uint8_and_float_conditions_give_the_same_image(
    mode: str, domain: FrameReader, tmp_path: Path
) -> None:
    """In the published way: [0, 1] times 255 for a face, else (x + 1) / 2 * 255, fractions cut off."""
    clip = next(iter(SequenceReader(domain, toy(mode, domain, tmp_path).sequences[0], AS_STORED)))
    numbers = clip.to(CPU).condition[0, 0].numpy()
    if mode == "face":
        expected = (numbers[:1] * 255).astype(np.uint8)
    else:
        if mode == "pose":
            numbers = np.where((numbers[3:] > -1).any(0), numbers[3:], numbers[:3])
        expected = ((numbers + 1) / 2 * 255).clip(0, 255).astype(np.uint8)
    assert np.array_equal(
        domain.condition_to_image(clip.condition[0, 0]),
        np.broadcast_to(expected, (3, *expected.shape[1:])).transpose(1, 2, 0),
    )
