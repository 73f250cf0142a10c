"""Flow once, not every epoch: vectors between image files, kept on disk (`--flow_cache`).

Kept is the flow of the images as they lie on disk; `cut_flow` makes of it what a clip shows. Confidence is not kept:
it belongs to the images as they are trained on.
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

_CACHE_FORMAT = "1"  # part of every key: a change of what follows forgets what was kept
_CACHE_HEADER = struct.Struct("<16sHH")  # digest of all that follows it; height, width

ReadImage = Callable[[Path], Tensor]  # a file to (3, H, W) in [-1, 1]


@dataclass(frozen=True)
class FlowCache:
    """Flow files by the content of both images and by the network, so that none is ever out of date. Picklable.

    A file that is torn or altered is as good as absent. Several processes may read and fill one folder.
    """

    folder: Path
    estimator_id: str

    @staticmethod
    def for_estimator(folder: Path, flow_estimator: FlowEstimator) -> FlowCache:
        return FlowCache(folder, f"{flow_estimator.name} {flow_estimator.version}")

    def get_path(self, current: Path, previous: Path) -> Path:
        parts = (_CACHE_FORMAT, self.estimator_id, hash_file(current), hash_file(previous))
        key = hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
        return self.folder / key[:2] / f"{key}.flow"

    def load(self, current: Path, previous: Path) -> Tensor | None:
        """(2, H, W) float32 pixels of the whole images; None: not there, or not whole."""
        path = self.get_path(current, previous)
        return decode_flow(path.read_bytes()) if path.is_file() else None

    def load_or_estimate(
        self, current: Path, previous: Path, flow_estimator: FlowEstimator, read_image: ReadImage
    ) -> Tensor:
        """As `find`, estimated and kept if need be: what is returned is what later calls will find."""
        found = self.load(current, previous)
        if found is None:
            images = read_image(current)[None], read_image(previous)[None]
            content = encode_flow(flow_estimator.estimate(*images)[0])
            with atomic_write(self.get_path(current, previous)) as temporary:
                temporary.write_bytes(content)
            found = decode_flow(content)
            assert found is not None
        return found


def encode_flow(flow: Tensor) -> bytes:
    """(2, H, W) in half precision. Differences along rows, high bytes apart from low ones, halve what zlib leaves."""
    numbers = flow.cpu().numpy().astype(np.float16).view(np.uint16)
    steps = np.diff(numbers, axis=-1, prepend=np.uint16(0))
    body = zlib.compress(steps.view(np.uint8).reshape(-1, 2).T.tobytes(), 1)
    size = struct.pack("<HH", *flow.shape[1:])
    return _hash_content(size + body) + size + body


def decode_flow(content: bytes) -> Tensor | None:
    """What `encode` was given, to half precision; None for anything but its whole output."""
    if len(content) < _CACHE_HEADER.size or content[:16] != _hash_content(content[16:]):
        return None
    _, height, width = _CACHE_HEADER.unpack_from(content)
    plain = np.frombuffer(zlib.decompress(content[_CACHE_HEADER.size :]), np.uint8)
    steps = np.ascontiguousarray(plain.reshape(2, -1).T).view(np.uint16).reshape(2, height, width)
    numbers = np.cumsum(steps, axis=-1, dtype=np.uint16)  # wraps around, as the differences did
    return torch.from_numpy(numbers.view(np.float16).astype(np.float32))


def _hash_content(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def crop_flow(flow: Tensor, source: ClipSource, size: tuple[int, int]) -> Tensor:
    """Flow (2, H, W) of whole images -> (2, *size) of what a clip of `size` (H, W) shows of them, in its pixels.

    Resized as Pillow resizes images. Outside the images, where clips are black, nothing moves.
    """
    height, width = size
    (left, top, right, bottom), margin = source.box, _compute_margin(source.box, flow.shape[1:])
    padded = np.pad(flow.numpy(), ((0, 0), (margin, margin), (margin, margin)))
    box = (left + margin, top + margin, right + margin, bottom + margin)
    x, y = (
        np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR, box))
        for channel in padded
    )
    cut = torch.from_numpy(
        np.stack([x * np.float32(width / (right - left)), y * np.float32(height / (bottom - top))])
    )
    return cut.flip(2) * torch.tensor([-1.0, 1.0])[:, None, None] if source.is_flipped else cut


def _compute_margin(box: tuple[float, float, float, float], size: tuple[int, ...]) -> int:
    """How far the box leaves the image of `size` (H, W), in whole pixels."""
    left, top, right, bottom = box
    return int(np.ceil(max(0.0, -left, -top, right - size[1], bottom - size[0])))
