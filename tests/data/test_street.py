"""Tests of the street mode: all supported file formats are read, others are refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.street import StreetFrameReader
from data.transforms import FrameTransform, TransformConfig, sample_transform
from util.errors import UserError

RNG = np.random.default_rng(1)
IDS = RNG.integers(0, 35, (6, 8), dtype=np.uint8)
PIXELS = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
LABELS = StreetFrameReader(label_nc=35, input_nc=3, use_instance=False)
UNCHANGED = FrameTransform(resize=(8, 6))


def save_images(folder: Path, **images: np.ndarray | Image.Image) -> dict[str, Path]:
    """Save each image as KEY.png; return the paths by key."""
    paths = {key: folder / f"{key}.png" for key in images}
    for key, image in images.items():
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        image.save(paths[key])
    return paths


def test_folders_follow_the_options() -> None:
    specs = LABELS.folder_specs(uses_images=True)
    assert {key: spec.folder for key, spec in specs.items()} == {"condition": "A", "image": "B"}
    reader = StreetFrameReader(35, 3, use_instance=True)
    assert list(reader.folder_specs(uses_images=False)) == ["condition", "instance"]


def test_label_frame_has_label_map_instance_map_and_image(tmp_path: Path) -> None:
    sample = LABELS.read_frame(save_images(tmp_path, condition=IDS, image=PIXELS), UNCHANGED, None)
    assert sample.condition.dtype == torch.uint8 and np.array_equal(sample.condition, IDS[None])
    assert sample.image is not None and np.array_equal(sample.image, PIXELS.transpose(2, 0, 1))
    assert sample.instance is None


def test_image_is_optional(tmp_path: Path) -> None:
    assert LABELS.read_frame(save_images(tmp_path, condition=IDS), UNCHANGED, None).image is None


def test_labels_are_resized_nearest_and_images_bicubic(tmp_path: Path) -> None:
    transform = FrameTransform(resize=(20, 14), crop=(2, 3, 18, 11), is_flipped=True)
    sample = LABELS.read_frame(save_images(tmp_path, condition=IDS, image=PIXELS), transform, None)
    assert sample.condition.shape == (1, 8, 16)
    assert set(sample.condition.unique().tolist()) <= set(IDS.flat)
    resized = np.asarray(Image.fromarray(PIXELS).resize((20, 14), Image.Resampling.BICUBIC))
    expected = resized[3:11, 2:18][:, ::-1]
    assert np.array_equal(sample.image, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["palette", "alpha", "16 bit"])
def test_label_maps_in_other_formats_are_read(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(IDS.astype(np.uint16) if kind == "16 bit" else IDS)
    if kind == "palette":
        image.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    if kind == "alpha":
        image = image.convert("LA")
    sample = LABELS.read_frame(save_images(tmp_path, condition=image), UNCHANGED, None)
    assert sample.condition.dtype == torch.uint8 and np.array_equal(sample.condition, IDS[None])


@pytest.mark.parametrize(
    ("dtype", "suffix"),
    [(np.uint8, "png"), (np.uint16, "png"), (np.int32, "tiff"), (np.dtype(">u2"), "tiff")],
)
def test_instance_maps_of_every_bit_depth_are_read(
    tmp_path: Path, dtype: np.dtype, suffix: str
) -> None:
    ids = (IDS.astype(np.int64) * (np.iinfo(dtype).max // 40)).astype(dtype)
    paths = save_images(tmp_path, condition=IDS)
    paths["instance"] = tmp_path / f"i.{suffix}"
    Image.fromarray(ids).save(paths["instance"])
    sample = StreetFrameReader(35, 3, use_instance=True).read_frame(
        paths, FrameTransform(resize=(16, 12)), None
    )
    assert sample.instance is not None and sample.instance.dtype == torch.int32
    assert np.array_equal(sample.instance[0], ids.astype(np.int32).repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("stored_mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("input_nc", [1, 3])
def test_conditions_without_labels_are_images(
    tmp_path: Path, stored_mode: str, input_nc: int
) -> None:
    image = Image.fromarray(PIXELS).convert(stored_mode)
    sample = StreetFrameReader(0, input_nc, use_instance=False).read_frame(
        save_images(tmp_path, condition=image), UNCHANGED, None
    )
    expected = np.asarray(image.convert("RGB").convert("L" if input_nc == 1 else "RGB")).reshape(
        6, 8, input_nc
    )
    assert sample.condition.dtype == torch.uint8
    assert np.array_equal(sample.condition, expected.transpose(2, 0, 1))


def test_reference_frame_is_the_image_in_train_and_the_condition_in_test(tmp_path: Path) -> None:
    paths = save_images(tmp_path, condition=IDS, image=Image.new("RGB", (16, 12)))
    assert LABELS.read_reference_frame(paths, is_train=True).size == (16, 12)
    assert LABELS.read_reference_frame(paths, is_train=False).size == (8, 6)


@pytest.mark.parametrize(("size", "mode"), [((123, 77), "none"), ((620, 460), "scaleWidth")])
def test_all_maps_of_a_frame_get_the_same_transform(
    tmp_path: Path, size: tuple[int, int], mode: str
) -> None:
    reader = StreetFrameReader(35, 3, use_instance=True)
    paths = save_images(
        tmp_path,
        condition=Image.new("L", size),
        image=Image.new("RGB", size),
        instance=Image.new("I;16", size),
    )
    transform = sample_transform(
        reader.read_reference_frame(paths, is_train=True),
        TransformConfig(128, 128, mode, uses_flip=True),
        None,
    )
    sample = reader.read_frame(paths, transform, None)
    assert sample.image is not None and sample.instance is not None
    for tensor in (sample.condition, sample.image, sample.instance):
        assert tensor.shape[1:] == transform.output_size[::-1]
    assert mode != "none" or transform.output_size == size


def find_error(reader: StreetFrameReader, paths: dict[str, Path]) -> str:
    """Return the message of the UserError that reading the frame raises."""
    with pytest.raises(UserError) as error:
        reader.read_frame(paths, UNCHANGED, None)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    ids = IDS.copy()
    ids[5, 7] = 255
    message = find_error(LABELS, save_images(tmp_path, condition=ids))
    assert f"{tmp_path / 'condition.png'}: holds label 255; --label_nc 35 allows 0..34" in message


def test_color_label_map_is_refused_with_the_remedy(tmp_path: Path) -> None:
    message = find_error(LABELS, save_images(tmp_path, condition=PIXELS))
    assert "condition.png: holds RGB colors" in message and "drop --label_nc" in message


def test_color_instance_map_is_refused(tmp_path: Path) -> None:
    message = find_error(
        StreetFrameReader(35, 3, use_instance=True),
        save_images(tmp_path, condition=IDS, instance=PIXELS),
    )
    assert "instance.png: holds RGB colors" in message


@pytest.mark.parametrize("other", ["image", "instance"])
def test_sizes_that_differ_are_refused_with_both_files(tmp_path: Path, other: str) -> None:
    image = Image.new("L" if other == "instance" else "RGB", (6, 8))
    message = find_error(
        StreetFrameReader(35, 3, use_instance=True),
        save_images(tmp_path, condition=IDS, **{other: image}),
    )
    assert "condition.png is 8x6" in message and f"{other}.png is 6x8" in message


def test_truncated_image_is_refused_by_name(tmp_path: Path) -> None:
    paths = save_images(tmp_path, condition=IDS, image=PIXELS)
    paths["image"].write_bytes(paths["image"].read_bytes()[:80])
    assert "image.png: not an image that can be read" in find_error(LABELS, paths)


@pytest.mark.parametrize(
    ("label_nc", "input_nc", "message"),
    [(300, 3, "--label_nc 300"), (-1, 3, "--label_nc -1"), (0, 15, "--input_nc 15")],
)
def test_impossible_options_are_refused(label_nc: int, input_nc: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        StreetFrameReader(label_nc, input_nc, use_instance=False)
