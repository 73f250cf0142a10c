"""Tests of normalization: clips stay uint8 until they reach a device, then equal the formulas bit for bit."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from data.dataset import ClipDataset, SequenceReader
from data.drawing import compute_distance_map
from data.face import add_forehead_points, rasterize_contours
from data.frame_reader import FrameReader
from data.image_io import open_image_unconverted
from data.keypoints import read_face_points
from data.loader import build_dataloader
from data.sampler import ClipPlan
from data.sequences import find_sequences
from data.street import StreetFrameReader
from data.synthetic import make_toy_data
from data.transforms import TransformConfig
from models.networks.input_encoding import pad_clip
from tests.frame_readers import FACE_READER, POSE_READER, STREET_READER
from util.clip import Clip

CPU = torch.device("cpu")
UNCHANGED = TransformConfig(64, 64, "none", uses_flip=False)
RGB_READER = StreetFrameReader(label_nc=0, input_nc=3, use_instance=False)
GRAY_READER = StreetFrameReader(label_nc=0, input_nc=1, use_instance=False)
DENSEPOSE_READER = replace(POSE_READER, uses_openpose=False)
FloatArray = NDArray[np.float32]


def expect_pm1(pixels: NDArray[np.uint8]) -> FloatArray:
    """Normalize to [-1, 1] in numpy."""
    return (pixels.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)


def expect_densepose(pixels: NDArray[np.uint8]) -> FloatArray:
    """Normalize DensePose in numpy: ids 0..24 of the third channel become -1..1."""
    normalized = expect_pm1(pixels)
    ids = (normalized[2] * np.float32(0.5) + np.float32(0.5)) * np.float32(255)
    normalized[2] = (ids / np.float32(24) - np.float32(0.5)) / np.float32(0.5)
    return normalized


def read_pixels(path: Path, mode: str = "RGB") -> NDArray[np.uint8]:
    """Read an image file as (C, H, W)."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)


def crop_center(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop the columns that pose mode keeps."""
    width = pixels.shape[-1]
    half = width // 4 // 32 * 32
    return pixels[..., width // 2 - half : width // 2 + half]


def expect_labels(paths: dict[str, Path]) -> NDArray[np.uint8]:
    return np.asarray(open_image_unconverted(paths["condition"]))[None]


def expect_rgb(paths: dict[str, Path]) -> FloatArray:
    return expect_pm1(read_pixels(paths["condition"]))


def expect_gray(paths: dict[str, Path]) -> FloatArray:
    return expect_pm1(read_pixels(paths["condition"], "L"))


def expect_face_maps(paths: dict[str, Path]) -> FloatArray:
    """Draw edge map and distance maps, and cut the reader's crop out of them."""
    box = FACE_READER.read_reference_frame(paths, is_train=False).box
    height, width = read_pixels(paths["image"]).shape[1:]
    points = add_forehead_points(read_face_points(paths["condition"]))
    contours = rasterize_contours(points, (width, height))
    edges = np.zeros((height, width), np.uint8)
    edges.flat[np.concatenate(contours)] = 255
    maps = [edges, *(compute_distance_map(contour, (width, height)) for contour in contours)]
    cropped = np.stack([np.asarray(Image.fromarray(array).crop(box)) for array in maps])
    return cropped.astype(np.float32) / np.float32(255)


def expect_pose(paths: dict[str, Path]) -> FloatArray:
    return expect_densepose(crop_center(read_pixels(paths["densepose"])))


# By name: mode of the toy data, reader, and the normalized condition of a frame.
CONDITIONS: dict[str, tuple[str, FrameReader, Callable[[dict[str, Path]], np.ndarray]]] = {
    "labels": ("street", STREET_READER, expect_labels),
    "RGB": ("street", RGB_READER, expect_rgb),
    "gray": ("street", GRAY_READER, expect_gray),
    "face": ("face", FACE_READER, expect_face_maps),
    "pose": ("pose", DENSEPOSE_READER, expect_pose),
}


def make_dataset(mode: str, reader: FrameReader, root: Path) -> ClipDataset:
    """Write toy data and open it."""
    make_toy_data(mode, root, sequences=1, frames=3, size=(256, 128))
    sequences = find_sequences(root, "train", reader.folder_specs(uses_images=True))
    return ClipDataset(reader, sequences, UNCHANGED)


def read_first_frame(mode: str, reader: FrameReader, root: Path) -> Clip:
    """Write toy data and read its first frame as in test."""
    (sequence,) = make_dataset(mode, reader, root).sequences
    return next(iter(SequenceReader(reader, sequence, UNCHANGED)))


@pytest.mark.parametrize("name", CONDITIONS)
def test_normalization_on_device_is_bitwise_equal_to_its_formula(name: str, tmp_path: Path) -> None:
    mode, reader, expect_condition = CONDITIONS[name]
    (sequence,) = make_dataset(mode, reader, tmp_path).sequences
    for number, clip in enumerate(SequenceReader(reader, sequence, UNCHANGED)):
        paths = sequence.paths(number)
        normalized = clip.to(CPU)
        assert clip.condition.dtype == clip.image.dtype == torch.uint8
        if name != "face":  # a face's image is cropped
            pixels = read_pixels(paths["image"])
            if mode == "pose":
                pixels = crop_center(pixels)
            assert np.array_equal(normalized.image[0, 0], expect_pm1(pixels))
        if name != "face" or number == 0:  # the crop follows the first frame
            expected = expect_condition(paths)
            assert normalized.condition.numpy().dtype == expected.dtype
            assert np.array_equal(normalized.condition[0, 0], expected)
        repeated = normalized.to(CPU)
        assert torch.equal(repeated.condition, normalized.condition)
        assert torch.equal(repeated.image, normalized.image)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("reader", [FACE_READER, RGB_READER, POSE_READER])
def test_all_256_uint8_values_normalize_equally_on_cpu_and_gpu(reader: FrameReader) -> None:
    values = torch.arange(256, dtype=torch.uint8).expand(6, 1, 256)
    assert reader.normalization is not None
    assert torch.equal(reader.normalization(values.cuda()).cpu(), reader.normalization(values))


def test_openpose_channels_follow_densepose_with_their_own_normalization(tmp_path: Path) -> None:
    clip = read_first_frame("pose", POSE_READER, tmp_path)
    condition = clip.condition[0, 0].numpy()
    assert condition[2].max() == 24 and condition[5].any()
    expected = np.concatenate([expect_densepose(condition[:3]), expect_pm1(condition[3:])])
    assert np.array_equal(clip.to(CPU).condition[0, 0], expected)


@pytest.mark.parametrize(
    ("mode", "reader", "bytes_per_pixel"),
    [
        ("face", FACE_READER, 15 + 3 + 4),
        ("pose", POSE_READER, 6 + 3),
        ("street", RGB_READER, 3 + 3),
        ("street", STREET_READER, 1 + 3 + 4),
    ],
)
def test_batch_is_transferred_as_uint8(
    mode: str, reader: FrameReader, bytes_per_pixel: int, tmp_path: Path
) -> None:
    """A pixel takes one byte per channel of condition and image, and 4 for its instance id."""
    dataset = make_dataset(mode, reader, tmp_path)
    plan = ClipPlan(0, (0, 1, 2), 1, (0,))
    batch = next(build_dataloader(dataset, [[plan, plan]], num_workers=1))
    tensors = [batch.condition, batch.image, batch.instance]
    n_bytes = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    height, width = batch.condition.shape[-2:]
    assert n_bytes == 2 * 3 * height * width * bytes_per_pixel
    clip = dataset[plan].to(CPU)
    assert torch.equal(batch.to(CPU).condition, torch.cat([clip.condition] * 2))


def test_cropping_padding_and_stacking_commute_with_normalization(tmp_path: Path) -> None:
    clip = make_dataset("pose", POSE_READER, tmp_path)[ClipPlan(0, (0, 1, 2), 1, (0,))]

    def transform(clip: Clip) -> Clip:
        return pad_clip(Clip.stack([clip, clip]).slice_batch(0, 1).slice_frames(1, 3), 96)

    normalized_last = transform(pickle.loads(pickle.dumps(clip))).to(CPU)
    normalized_first = transform(clip.to(CPU))
    assert normalized_last.condition.shape[-1] % 96 == 0
    assert torch.equal(normalized_last.condition, normalized_first.condition)
    assert torch.equal(normalized_last.image, normalized_first.image)


@pytest.mark.parametrize(
    ("mode", "reader"),
    [
        ("face", FACE_READER),
        ("pose", POSE_READER),
        ("street", RGB_READER),
        ("street", GRAY_READER),
    ],
)
def test_uint8_and_float_conditions_give_the_same_image(
    mode: str, reader: FrameReader, tmp_path: Path
) -> None:
    """The published formula: x * 255 for a face, else (x + 1) / 2 * 255, truncated."""
    clip = read_first_frame(mode, reader, tmp_path)
    condition = clip.to(CPU).condition[0, 0].numpy()
    if mode == "face":
        expected = (condition[:1] * 255).astype(np.uint8)
    else:
        if mode == "pose":
            condition = np.where((condition[3:] > -1).any(0), condition[3:], condition[:3])
        expected = ((condition + 1) / 2 * 255).clip(0, 255).astype(np.uint8)
    expected = np.broadcast_to(expected, (3, *expected.shape[1:])).transpose(1, 2, 0)
    assert np.array_equal(reader.condition_to_image(clip.condition[0, 0]), expected)
