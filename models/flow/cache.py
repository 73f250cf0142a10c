"""Flow once, not every epoch: vectors between picture files, kept on disk (`--flow_cache`).

Kept is the flow of the pictures as they lie on disk; `cut_flow` makes of it what a clip shows. Confidence is not kept:
it belongs to the pictures as they are trained on.
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

from models.flow.reference import ReferenceFlow
from util.clip import Source
from util.files import file_digest, replacing

FORMAT = "1"  # part of every key: a change of what follows forgets what was kept
HEADER = struct.Struct("<16sHH")  # digest of all that follows it; height, width

ReadPicture = Callable[[Path], Tensor]  # a file to (3, H, W) in [-1, 1]


@dataclass(frozen=True)
class FlowCache:
    """Flow files by the content of both pictures and by the network, so that none is ever out of date. Picklable.

    A file that is torn or altered is as good as absent. Several processes may read and fill one folder.
    """

    folder: Path
    network: str

    @staticmethod
    def of(folder: Path, reference: ReferenceFlow) -> FlowCache:
        return FlowCache(folder, f"{reference.name} {reference.version}")

    def path(self, current: Path, previous: Path) -> Path:
        parts = (FORMAT, self.network, file_digest(current), file_digest(previous))
        key = hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
        return self.folder / key[:2] / f"{key}.flow"

    def find(self, current: Path, previous: Path) -> Tensor | None:
        """(2, H, W) float32 pixels of the whole pictures; None: not there, or not whole."""
        path = self.path(current, previous)
        return decode(path.read_bytes()) if path.is_file() else None

    def find_or_estimate(self, current: Path, previous: Path, reference: ReferenceFlow, read: ReadPicture) -> Tensor:
        """As `find`, estimated and kept if need be: what is returned is what later calls will find."""
        found = self.find(current, previous)
        if found is None:
            pictures = read(current)[None], read(previous)[None]
            content = encode(reference.vectors(*pictures)[0])
            with replacing(self.path(current, previous)) as temporary:
                temporary.write_bytes(content)
            found = decode(content)
            assert found is not None
        return found


def encode(flow: Tensor) -> bytes:
    """(2, H, W) in half precision. Differences along rows, high bytes apart from low ones, halve what zlib leaves."""
    numbers = flow.cpu().numpy().astype(np.float16).view(np.uint16)
    steps = np.diff(numbers, axis=-1, prepend=np.uint16(0))
    body = zlib.compress(steps.view(np.uint8).reshape(-1, 2).T.tobytes(), 1)
    size = struct.pack("<HH", *flow.shape[1:])
    return _digest(size + body) + size + body


def decode(content: bytes) -> Tensor | None:
    """What `encode` was given, to half precision; None for anything but its whole output."""
    if len(content) < HEADER.size or content[:16] != _digest(content[16:]):
        return None
    _, height, width = HEADER.unpack_from(content)
    plain = np.frombuffer(zlib.decompress(content[HEADER.size:]), np.uint8)
    steps = np.ascontiguousarray(plain.reshape(2, -1).T).view(np.uint16).reshape(2, height, width)
    numbers = np.cumsum(steps, axis=-1, dtype=np.uint16)  # wraps around, as the differences did
    return torch.from_numpy(numbers.view(np.float16).astype(np.float32))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def cut_flow(flow: Tensor, source: Source, size: tuple[int, int]) -> Tensor:
    """Flow (2, H, W) of whole pictures -> (2, *size) of what a clip of `size` (H, W) shows of them, in its pixels.

    Resized as Pillow resizes pictures. Outside the pictures, where clips are black, nothing moves.
    """
    height, width = size
    (left, top, right, bottom), margin = source.box, _margin(source.box, flow.shape[1:])
    padded = np.pad(flow.numpy(), ((0, 0), (margin, margin), (margin, margin)))
    box = (left + margin, top + margin, right + margin, bottom + margin)
    x, y = (np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR, box))
            for channel in padded)
    cut = torch.from_numpy(np.stack([x * np.float32(width / (right - left)), y * np.float32(height / (bottom - top))]))
    return cut.flip(2) * torch.tensor([-1.0, 1.0])[:, None, None] if source.flip else cut


def _margin(box: tuple[float, float, float, float], size: tuple[int, ...]) -> int:
    """How far the box leaves the picture of `size` (H, W), in whole pixels."""
    left, top, right, bottom = box
    return int(np.ceil(max(0.0, -left, -top, right - size[1], bottom - size[0])))
