"""Read image files as Pillow images and tensors; errors name the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from util.errors import UserError
from util.images.normalization import normalize_to_pm1

# The decoders that are tried, whatever a file's suffix; no other decoder sees untrusted bytes.
IMAGE_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF")
MAX_IMAGE_PIXELS = 2**26  # 8192 x 8192; Pillow itself warns above a third more

# What Pillow's decoders raise on broken files: truncated data, invalid chunks, absurd sizes.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def open_image(path: Path) -> Image.Image:
    """Decode an image file as RGB.

    Gray and palette images are expanded to three channels; an alpha channel is dropped.

    Raises:
        UserError: the file cannot be decoded or has more than 8 bits per channel.
    """
    image = open_image_unconverted(path)
    if image.mode.startswith(("I", "F")):
        raise UserError(
            f"{path}: an image of mode {image.mode}; expected 8 bits per channel: convert it"
        )
    if image.has_transparency_data:
        # Pillow warns if a palette's alpha is dropped in one step; via RGBA it does not.
        image = image.convert("RGBA")
    return image.convert("RGB")


def open_image_unconverted(path: Path) -> Image.Image:
    """Decode an image file in its stored mode (L, P, I;16, I, RGB ...).

    Raises:
        UserError: the file cannot be decoded.
    """
    with _opened_image(path) as image:
        if image.format == "PNG":
            image.verify()  # checks the checksums, which decoding ignores
    with _opened_image(path) as image:
        image.load()
        return image


def read_image_size(path: Path) -> tuple[int, int]:
    """Return (w, h) from the file's header, without decoding it; UserError as `open_image`."""
    with _opened_image(path) as image:
        return image.size


@contextmanager
def _opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file and read its header; Pillow's errors become a UserError."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise ValueError(
                    f"{image.width}x{image.height}, more than {MAX_IMAGE_PIXELS} pixels"
                )
            yield image
    except _DECODE_ERRORS as error:
        raise UserError(
            f"{path}: not an image that can be read ({_format_reason(error)}): replace it"
        ) from error


def _format_reason(error: BaseException) -> str:
    """Return the error's message on one line."""
    message = " ".join(str(error).split())
    # Pillow's "cannot identify image file" repeats the path, which the UserError names already.
    return type(error).__name__ if "cannot identify" in message else message


def check_same_size(sizes: Mapping[Path, tuple[int, int]]) -> None:
    """Raise UserError unless all files of a frame have the same size (w, h)."""
    for (first, first_size), (second, second_size) in pairwise(sizes.items()):
        if first_size != second_size:
            raise UserError(
                f"{first} is {first_size[0]}x{first_size[1]}, {second} is {second_size[0]}x{second_size[1]}: "
                "the files of a frame must have one size, resize one of them"
            )


def image_to_tensor(image: Image.Image) -> Tensor:
    """Convert an 8-bit image to a (C, H, W) uint8 tensor; C is 3 for RGB, 1 for L."""
    assert image.mode in ("RGB", "L"), image.mode
    pixels = np.array(image).reshape(image.height, image.width, -1)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def read_image(path: Path) -> Tensor:
    """Read an image file as (3, H, W) float32 in [-1, 1], at its stored size."""
    return normalize_to_pm1(image_to_tensor(open_image(path)))


def id_map_to_tensor(image: Image.Image, dtype: torch.dtype) -> Tensor:
    """Convert a single-channel map of integers to a (1, H, W) tensor; a palette is ignored."""
    # Pillow's modes include bits and big-endian words, neither of which torch accepts.
    ids = np.asarray(image).astype(np.int32)
    return torch.from_numpy(ids)[None].to(dtype)
