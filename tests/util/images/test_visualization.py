"""Tests of util/images/visualization.py."""

import numpy as np
import pytest
import torch
from PIL import Image

from util.images.visualization import (
    get_label_colormap,
    gray_to_rgb,
    label_map_to_image,
    make_voc_colormap,
    save_image,
    tensor_to_image,
    weight_map_to_image,
)


def test_to_uint8_clips_and_truncates():
    values = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.999, 1.0, 3.0])
    tensor = torch.stack([values, -values, torch.zeros(7)])[:, None]  # (3, 1, 7)
    image = tensor_to_image(tensor)
    assert image.shape == (1, 7, 3) and image.dtype == np.uint8
    assert image[0, :, 0].tolist() == [0, 0, 63, 127, 254, 255, 255]  # 63.75, 127.5, 254.87
    assert image[0, :, 1].tolist() == [255, 255, 191, 127, 0, 0, 0]
    assert (image[..., 2] == 127).all()


def test_to_uint8_accepts_half_precision_and_requires_grad():
    tensor = torch.full((3, 2, 2), 0.5, requires_grad=True)
    assert (tensor_to_image(tensor) == 191).all()
    assert (tensor_to_image(tensor.bfloat16()) == 191).all()


def test_to_uint8_round_trips_within_one_gray_level():
    pixels = torch.arange(256, dtype=torch.uint8)
    normalized = (pixels.float() / 255 * 2 - 1).expand(3, 1, 256)
    image = tensor_to_image(normalized).astype(int)[0, :, 0]
    assert set((pixels.numpy().astype(int) - image).tolist()) <= {0, 1}


def test_to_uint8_of_uint8_equals_that_of_its_normalization():
    pixels = np.arange(256, dtype=np.uint8)
    normalized = torch.from_numpy((pixels.astype(np.float32) / 255 - 0.5) / 0.5)
    image = tensor_to_image(torch.from_numpy(pixels).expand(3, 1, 256))
    assert np.array_equal(image, tensor_to_image(normalized.expand(3, 1, 256)))
    assert not np.array_equal(image[0, :, 0], pixels)


@pytest.mark.parametrize(
    ("label_nc", "label", "color"),
    [
        (35, 0, (0, 0, 0)),
        (35, 7, (128, 64, 128)),
        (35, 18, (153, 153, 153)),
        (35, 26, (0, 0, 142)),
        (35, 34, (0, 0, 142)),
        (20, 0, (128, 64, 128)),
        (20, 2, (70, 70, 70)),
        (20, 13, (0, 0, 142)),
        (20, 18, (119, 11, 32)),
        (20, 19, (0, 0, 0)),
        (21, 1, (128, 0, 0)),
        (21, 15, (192, 128, 128)),  # person of PASCAL VOC
        (21, 20, (0, 64, 128)),  # tv of PASCAL VOC
    ],
)
def test_label_map_to_color(label_nc, label, color):
    ids = torch.full((2, 3), label, dtype=torch.uint8)
    image = label_map_to_image(ids, label_nc)
    assert image.shape == (2, 3, 3) and image.dtype == np.uint8
    assert (image == color).all()
    assert len(get_label_colormap(label_nc)) == label_nc


def test_voc_colors_match_the_published_loop():
    def published_color(i):
        red = green = blue = 0
        for j in range(8):
            red |= (i >> 0 & 1) << 7 - j
            green |= (i >> 1 & 1) << 7 - j
            blue |= (i >> 2 & 1) << 7 - j
            i >>= 3
        return red, green, blue

    assert make_voc_colormap(256).tolist() == [list(published_color(i)) for i in range(256)]


def test_unlabeled_is_black_and_out_of_range_label_fails():
    assert (label_map_to_image(torch.tensor([[35]]), 35) == 0).all()
    with pytest.raises(IndexError):
        label_map_to_image(torch.tensor([[36]]), 35)


@pytest.mark.parametrize("to_image", [gray_to_rgb, weight_map_to_image])
def test_gray_to_rgb(to_image):
    image = to_image(torch.tensor([[0.0, 0.5, 0.999, 1.0, 1.5]]))
    assert image.shape == (1, 5, 3)
    assert image[0].tolist() == [[value] * 3 for value in (0, 127, 254, 255, 255)]


def test_png_round_trips(tmp_path):
    path = tmp_path / "new/folder/a.png"
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    save_image(path, image)
    assert (np.asarray(Image.open(path)) == image).all()


def test_jpeg_has_the_pillow_default_quality(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    save_image(tmp_path / "a.jpg", image)
    Image.fromarray(image).save(tmp_path / "b.jpg", quality=75)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()


def test_failed_save_keeps_the_old_file(tmp_path):
    save_image(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(TypeError):
        save_image(tmp_path / "a.png", np.zeros((2, 2, 5), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (np.asarray(Image.open(tmp_path / "a.png")) == 0).all()
