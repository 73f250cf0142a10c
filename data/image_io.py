"""Image files to Pillow images to tensors: the only place that opens one. Everything raises UserError by name."""

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

IMAGE_FORMATS = (
    "PNG",
    "JPEG",
    "PPM",
    "BMP",
    "TIFF",
)  # what may hide behind those suffixes: no decoder else is tried
MAX_IMAGE_PIXELS = 2**26  # pixels, 8192 x 8192; Pillow itself warns from a third more on

# What Pillow's decoders raise on broken files: truncated data, bad chunks, absurd sizes.
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
    """Decoded, in RGB; grey and palette files are spread over the channels, alpha is dropped."""
    image = open_image_unconverted(path)
    if image.mode.startswith(("I", "F")):
        raise UserError(
            f"{path}: an image of mode {image.mode}; expected 8 bits a channel: convert it"
        )
    if image.has_transparency_data:
        image = image.convert(
            "RGBA"
        )  # by way of RGBA: Pillow warns of dropping a palette's alpha in one step
    return image.convert("RGB")


def open_image_unconverted(path: Path) -> Image.Image:
    """Decoded, in the mode it is stored in (L, P, I;16, I ...; RGB too: whoever expects ids checks that)."""
    with _opened_image(path) as image:
        if image.format == "PNG":  # its checksums, which decoding does not look at
            image.verify()
    with _opened_image(path) as image:
        image.load()
        return image


def read_image_size(path: Path) -> tuple[int, int]:
    """(w, h) from the file's header, without decoding it."""
    with _opened_image(path) as image:
        return image.size


@contextmanager
def _opened_image(path: Path) -> Iterator[Image.Image]:
    """Read as far as its header, which must promise a size that fits the memory."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise ValueError(
                    f"{image.width}x{image.height}, more than {MAX_IMAGE_PIXELS} pixels"
                )
            yield image
    except _DECODE_ERRORS as fault:
        raise UserError(
            f"{path}: not an image that can be read ({_format_reason(fault)}): replace it"
        ) from fault


def check_same_size(sizes: Mapping[Path, tuple[int, int]]) -> None:
    """One frame's files must have one size (w, h): UserError names two that have not."""
    for (first, size), (path, other) in pairwise(sizes.items()):
        if other != size:
            raise UserError(
                f"{first} is {size[0]}x{size[1]}, {path} is {other[0]}x{other[1]}: "
                "the files of a frame must have one size, resize one of them"
            )


def image_to_tensor(image: Image.Image) -> Tensor:
    """(C, H, W) uint8 of an 8-bit image: C = 3 of RGB, 1 of L."""
    assert image.mode in ("RGB", "L"), image.mode
    pixels = np.array(image).reshape(image.height, image.width, -1)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def read_image(path: Path) -> Tensor:
    """(3, H, W) float32 in [-1, 1], whole and as large as it lies on disk."""
    return normalize_to_pm1(image_to_tensor(open_image(path)))


def id_map_to_tensor(image: Image.Image, dtype: torch.dtype) -> Tensor:
    """(1, H, W) of a single-channel map of integers (a palette's: its indices)."""
    ids = np.asarray(image).astype(
        np.int32
    )  # Pillow's modes hold bits and big-endian words too: torch takes neither
    return torch.from_numpy(ids)[None].to(dtype)


def _format_reason(error: BaseException) -> str:
    """Pillow repeats the file's name in some messages; one line of the reason is enough."""
    return type(error).__name__ if "cannot identify" in str(error) else " ".join(str(error).split())
