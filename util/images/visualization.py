"""Conversion of tensors to 8-bit RGB images, (H, W, 3) uint8 arrays, and saving of these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from util.images.normalization import normalize_if_uint8
from util.io.atomic import atomic_write

# RGB by Cityscapes label id 0..34 (cityscapesScripts, helpers/labels.py).
CITYSCAPES_COLORS = (
    *[(0, 0, 0)] * 5,
    (111, 74, 0),
    (81, 0, 81),
    (128, 64, 128),
    (244, 35, 232),
    (250, 170, 160),
    (230, 150, 140),
    (70, 70, 70),
    (102, 102, 156),
    (190, 153, 153),
    (180, 165, 180),
    (150, 100, 100),
    (150, 120, 90),
    (153, 153, 153),
    (153, 153, 153),
    (250, 170, 30),
    (220, 220, 0),
    (107, 142, 35),
    (152, 251, 152),
    (70, 130, 180),
    (220, 20, 60),
    (255, 0, 0),
    (0, 0, 142),
    (0, 0, 70),
    (0, 60, 100),
    (0, 0, 90),
    (0, 0, 110),
    (0, 80, 100),
    (0, 0, 230),
    (119, 11, 32),
    (0, 0, 142),
)
# Train id 0..18 -> label id (cityscapesScripts).
# fmt: off
CITYSCAPES_TRAIN_ID_TO_ID = (
    7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33
)
# fmt: on


def tensor_to_image(tensor: Tensor) -> np.ndarray:
    """Convert a (3, H, W) tensor in [-1, 1] to a (H, W, 3) uint8 array.

    Values outside [-1, 1] are clipped and fractions are truncated. A uint8 tensor is normalized to
    [-1, 1] first, so that it looks like a normalized one: rounding makes some pixels darker by 1.
    """
    return tensor_to_uint8(tensor).cpu().numpy()


def tensor_to_uint8(tensor: Tensor) -> Tensor:
    """Convert as `tensor_to_image` does, but return a tensor on the same device.

    Copying the result to the CPU takes a quarter of the bytes of a float32 image.
    """
    values = (normalize_if_uint8(tensor.detach()).float() + 1) / 2 * 255
    return values.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def label_map_to_image(ids: Tensor, label_nc: int) -> np.ndarray:
    """Convert (H, W) label ids to a (H, W, 3) uint8 array in the colors of `get_label_colormap`.

    Ids are 0..label_nc; the last one, unlabeled, is black. A larger id raises IndexError.
    """
    black = np.zeros((1, 3), np.uint8)
    colors = np.vstack([get_label_colormap(label_nc), black])
    return colors[ids.detach().cpu().numpy()]


def gray_to_rgb(gray: Tensor) -> np.ndarray:
    """Convert a (H, W) tensor in [0, 1] to a (H, W, 3) uint8 array; fractions are truncated."""
    pixels = np.clip(gray.detach().float().cpu().numpy() * 255, 0, 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2)


weight_map_to_image = gray_to_rgb  # of flow confidences and blend weights, (H, W) in [0, 1]


def get_label_colormap(label_nc: int) -> np.ndarray:
    """Return the (label_nc, 3) uint8 colors of labels.

    35 labels: Cityscapes label ids. 20 labels: Cityscapes train ids 0..18 and unlabeled. Any other
    number: the PASCAL VOC color map.
    """
    if label_nc == 35:
        return np.array(CITYSCAPES_COLORS, np.uint8)
    if label_nc == 20:
        train_id_colors = [CITYSCAPES_COLORS[i] for i in CITYSCAPES_TRAIN_ID_TO_ID]
        return np.array([*train_id_colors, (0, 0, 0)], np.uint8)
    return make_voc_colormap(label_nc)


def make_voc_colormap(n_labels: int) -> np.ndarray:
    """Return the (n_labels, 3) uint8 color map of PASCAL VOC.

    The bits of an id, from the lowest, are in turn the highest unused bits of red, green and blue.
    """
    ids = np.arange(n_labels)[:, None]
    colors = np.zeros((n_labels, 3), np.int64)
    for i in range(8):
        id_bits = ids >> (3 * i + np.arange(3)) & 1
        colors |= id_bits << (7 - i)
    return colors.astype(np.uint8)


def save_image(path: Path, image: np.ndarray) -> None:
    """Save a (H, W, 3) or (H, W) uint8 array atomically, in the format of the path's suffix.

    JPEG has Pillow's default quality, 75.
    """
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary)
