"""Tensors to 8-bit RGB images as people see them: (H, W, 3) uint8 arrays, and those to files (SPEC 10)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from util.images.normalization import normalize_if_uint8
from util.io.atomic import atomic_write

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
CITYSCAPES_TRAIN_ID_TO_ID = (
    7,
    8,
    11,
    12,
    13,
    17,
    19,
    20,
    21,
    22,
    23,
    24,
    25,
    26,
    27,
    28,
    31,
    32,
    33,
)  # ids behind the 20


def tensor_to_image(tensor: Tensor) -> np.ndarray:
    """(3, H, W) in [-1, 1] -> (H, W, 3); values beyond the range are clipped, fractions truncated. Bytes are shown as
    their numbers would be, some a level darker than they were read."""
    return tensor_to_uint8(tensor).cpu().numpy()


def tensor_to_uint8(tensor: Tensor) -> Tensor:
    """The same, still on the device: a quarter of the image's bytes to fetch."""
    values = (normalize_if_uint8(tensor.detach()).float() + 1) / 2 * 255
    return values.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def label_map_to_image(ids: Tensor, label_nc: int) -> np.ndarray:
    """(H, W) integer ids 0..label_nc-1 -> (H, W, 3) in the colours of `label_colours`; label_nc, no label, is black."""
    colours = np.vstack([get_label_colormap(label_nc), np.zeros((1, 3), np.uint8)])
    return colours[ids.detach().cpu().numpy()]


def gray_to_rgb(gray: Tensor) -> np.ndarray:
    """(H, W) in [0, 1] -> (H, W, 3) grey, fractions truncated."""
    grey = np.clip(gray.detach().float().cpu().numpy() * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


weight_map_to_image = (
    gray_to_rgb  # flow weights and confidences: the same grey, under the name the caller means
)


def get_label_colormap(label_nc: int) -> np.ndarray:
    """(label_nc, 3) uint8: Cityscapes' for 35 ids and for 20 training ids, else the PASCAL VOC colour map."""
    if label_nc == 35:
        return np.array(CITYSCAPES_COLORS, np.uint8)
    if label_nc == 20:
        return np.array(
            [*(CITYSCAPES_COLORS[i] for i in CITYSCAPES_TRAIN_ID_TO_ID), (0, 0, 0)], np.uint8
        )
    return make_voc_colormap(label_nc)


def make_voc_colormap(n_labels: int) -> np.ndarray:
    """(count, 3) uint8. The id's bits 0, 1, 2 are the top bits of red, green, blue, its bits 3, 4, 5 the next, …"""
    ids = np.arange(n_labels)[:, None]
    colours = np.zeros((n_labels, 3), np.int64)
    for level in range(8):
        colours |= (ids >> (3 * level + np.arange(3)) & 1) << (7 - level)
    return colours.astype(np.uint8)


def save_image(path: Path, image: np.ndarray) -> None:
    """Writes (H, W, 3) or (H, W) uint8; the suffix says how (JPEG at Pillow's quality, 75). Whole or not at all."""
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary)
