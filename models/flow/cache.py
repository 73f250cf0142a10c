"""Disk cache of reference flow (`--flow_cache`): flow is estimated once, not in every epoch.

The cache holds the flow between image files as they are on disk. `crop_flow` applies the crop, resize and flip of a
clip to it. Confidence is not cached, because it depends on the transformed images.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.flow.estimator import FlowEstimator
from util.clip import ClipSource
from util.io.atomic import atomic_write, hash_file

# Part of every key. Changing the file format requires a new value, which invalidates existing files.
_CACHE_FORMAT = "1"
_CACHE_HEADER = struct.Struct("<16sHH")  # digest of the rest of the file; height; width
_DIGEST_BYTES = 16

ReadImage = Callable[[Path], Tensor]  # a file -> (3, H, W) in [-1, 1]


@dataclass(frozen=True)
class FlowCache:
    """A folder of flow files. Picklable.

    A file's key is a hash of the content of both images and of the estimator's version, so no entry is ever outdated.
    A damaged file counts as missing. Several processes may read and fill the same folder.

    Attributes:
        folder: Where the files are.
        estimator_id: Name and version of the estimator.
    """

    folder: Path
    estimator_id: str

    @staticmethod
    def for_estimator(folder: Path, flow_estimator: FlowEstimator) -> FlowCache:
        """Return the cache of this estimator's flow."""
        return FlowCache(folder, f"{flow_estimator.name} {flow_estimator.version}")

    def get_path(self, current: Path, previous: Path) -> Path:
        """Return the path of the flow from image file `current` to `previous`."""
        parts = (_CACHE_FORMAT, self.estimator_id, hash_file(current), hash_file(previous))
        key = hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
        return self.folder / key[:2] / f"{key}.flow"

    def load(self, current: Path, previous: Path) -> Tensor | None:
        """Return (2, H, W) float32 pixels of the uncropped images; None if missing or damaged."""
        path = self.get_path(current, previous)
        return decode_flow(path.read_bytes()) if path.is_file() else None

    def load_or_estimate(
        self, current: Path, previous: Path, flow_estimator: FlowEstimator, read_image: ReadImage
    ) -> Tensor:
        """Return the cached flow (2, H, W); estimate and save it first if it is missing.

        The result is the same in both cases: it has been through the file format's rounding to float16.
        """
        flow = self.load(current, previous)
        if flow is not None:
            return flow
        images = read_image(current)[None], read_image(previous)[None]
        content = encode_flow(flow_estimator.estimate(*images)[0])
        with atomic_write(self.get_path(current, previous)) as temporary:
            temporary.write_bytes(content)
        flow = decode_flow(content)
        assert flow is not None
        return flow


def encode_flow(flow: Tensor) -> bytes:
    """Encode (2, H, W) as compressed float16.

    Differences along rows, with high bytes and low bytes stored separately, halve the size after zlib.
    """
    bits = flow.cpu().numpy().astype(np.float16).view(np.uint16)
    differences = np.diff(bits, axis=-1, prepend=np.uint16(0))
    body = zlib.compress(differences.view(np.uint8).reshape(-1, 2).T.tobytes(), 1)
    size = struct.pack("<HH", *flow.shape[1:])
    return _hash_content(size + body) + size + body


def decode_flow(content: bytes) -> Tensor | None:
    """Decode the result of `encode_flow` to (2, H, W) float32; return None if `content` is damaged."""
    is_complete = len(content) >= _CACHE_HEADER.size
    if not is_complete or content[:_DIGEST_BYTES] != _hash_content(content[_DIGEST_BYTES:]):
        return None
    _, height, width = _CACHE_HEADER.unpack_from(content)
    planes = np.frombuffer(zlib.decompress(content[_CACHE_HEADER.size :]), np.uint8)
    differences = np.ascontiguousarray(planes.reshape(2, -1).T).view(np.uint16)
    # Sums wrap around at 2^16, as the differences did.
    bits = np.cumsum(differences.reshape(2, height, width), axis=-1, dtype=np.uint16)
    return torch.from_numpy(bits.view(np.float16).astype(np.float32))


def _hash_content(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def crop_flow(flow: Tensor, source: ClipSource, size: tuple[int, int]) -> Tensor:
    """Crop, resize and flip flow (2, H, W) of uncropped images as the clip was; return (2, *size).

    It is resized by Pillow, as the images are, and scaled to pixels of the clip. It is 0 outside the images, where
    the clip is black.

    Args:
        flow: (2, H, W) pixels of the image files.
        source: Box and flip of the clip.
        size: (height, width) of the clip.
    """
    height, width = size
    left, top, right, bottom = source.box
    margin = _compute_margin(source.box, flow.shape[1:])
    padded = np.pad(flow.numpy(), ((0, 0), (margin, margin), (margin, margin)))
    box = (left + margin, top + margin, right + margin, bottom + margin)
    x, y = (
        np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR, box))
        for channel in padded
    )
    scaled_x = x * np.float32(width / (right - left))
    scaled_y = y * np.float32(height / (bottom - top))
    cropped = torch.from_numpy(np.stack([scaled_x, scaled_y]))
    if not source.is_flipped:
        return cropped
    return cropped.flip(2) * torch.tensor([-1.0, 1.0])[:, None, None]


def _compute_margin(box: tuple[float, float, float, float], size: tuple[int, ...]) -> int:
    """Return how far the box extends beyond the image of `size` (H, W), in whole pixels."""
    left, top, right, bottom = box
    return int(np.ceil(max(0.0, -left, -top, right - size[1], bottom - size[0])))
