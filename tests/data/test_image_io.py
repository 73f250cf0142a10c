"""Tests of reading images: all stored modes are supported, broken files are refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.image_io import (
    check_same_size,
    id_map_to_tensor,
    image_to_tensor,
    open_image,
    open_image_unconverted,
    read_image,
    read_image_size,
)
from util.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def save(folder: Path, image: Image.Image, name: str = "a.png") -> Path:
    """Save an image; return its path."""
    image.save(folder / name)
    return folder / name


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_image_is_rgb_for_every_stored_mode(tmp_path: Path, mode: str) -> None:
    stored = Image.fromarray(PIXELS).convert(mode)
    image = open_image(save(tmp_path, stored))
    assert image.mode == "RGB"
    assert np.array_equal(image, stored.convert("RGB"))


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    alpha = np.concatenate([PIXELS, np.zeros((6, 8, 1), np.uint8)], axis=2)
    assert np.array_equal(open_image(save(tmp_path, Image.fromarray(alpha))), PIXELS)


def test_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    stored = Image.fromarray(PIXELS).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    stored.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert np.array_equal(open_image(tmp_path / "a.png"), stored.convert("RGB"))


def test_sixteen_bit_image_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(np.full((4, 4), 4000, np.uint16)))
    with pytest.raises(UserError, match=r"a\.png: an image of mode I;16"):
        open_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tiff", "a.ppm"])
def test_truncated_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    content = save(tmp_path, Image.fromarray(PIXELS).resize((64, 48)), name).read_bytes()
    for length in range(0, len(content) * 3 // 4, max(1, len(content) // 40)):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(UserError, match=name) as error:
            open_image(tmp_path / name)
        assert "\n" not in str(error.value)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    for read in (open_image, open_image_unconverted, read_image_size):
        with pytest.raises(UserError, match=r"missing\.png"):
            read(tmp_path / "missing.png")


def test_size_is_width_then_height(tmp_path: Path) -> None:
    assert read_image_size(save(tmp_path, Image.fromarray(PIXELS))) == (8, 6)


def test_image_tensor_is_channels_first(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    assert np.array_equal(image_to_tensor(image), PIXELS.transpose(2, 0, 1))
    normalized = read_image(save(tmp_path, image))
    assert np.allclose(normalized, PIXELS.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert image_to_tensor(image).is_contiguous()
    assert image_to_tensor(image.convert("L")).shape == (1, 6, 8)


@pytest.mark.parametrize(
    ("dtype", "name"), [(np.uint8, "a.png"), (np.uint16, "a.png"), (np.int32, "a.tiff")]
)
def test_maps_keep_their_values(tmp_path: Path, dtype: type, name: str) -> None:
    ids = np.array([[0, 1, 2], [24, 200, np.iinfo(dtype).max]], dtype)
    tensor = id_map_to_tensor(
        open_image_unconverted(save(tmp_path, Image.fromarray(ids), name)), torch.int32
    )
    assert tensor.shape == (1, 2, 3)
    assert np.array_equal(tensor[0], ids.astype(np.int32))


def test_palette_map_is_its_indices(tmp_path: Path) -> None:
    ids = np.array([[0, 3], [1, 2]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette([250, 10, 10] * 4)
    tensor = id_map_to_tensor(open_image_unconverted(save(tmp_path, image)), torch.uint8)
    assert tensor[0].tolist() == ids.tolist()


def test_unequal_sizes_name_both_files() -> None:
    with pytest.raises(UserError, match=r"A\.png is 8x6, B\.png is 6x8"):
        check_same_size({Path("A.png"): (8, 6), Path("B.png"): (6, 8)})
