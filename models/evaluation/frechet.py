"""What Fréchet distances compare: named features of images and of clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_N_SCALES = 4  # of the weight-free statistics, each half the size of the one before
_N_ORIENTATIONS = 4
_FEATURES_PER_SCALE = 6 + _N_ORIENTATIONS


class FeatureExtractor(Protocol):
    """name: under which its distance is reported. n_frames: of the clip that one vector describes; 1: an image."""

    @property
    def name(self) -> str: ...

    @property
    def n_frames(self) -> int: ...

    def __call__(self, clip: Tensor) -> Tensor:
        """(n_frames, 3, H, W) in [-1, 1] -> (D,)."""
        ...


@dataclass(frozen=True)
class HandcraftedFeatureExtractor:
    """Colours and edges by size and direction: needs no weights, and is no Inception distance (FID) or I3D one (FVD).

    Of a clip it holds the mean of its frames' statistics, and how much those change from frame to frame."""

    n_frames: int = 1

    @property
    def name(self) -> str:
        return "frechet_statistics" if self.n_frames == 1 else "frechet_video_statistics"

    def __call__(self, clip: Tensor) -> Tensor:
        found = compute_image_statistics(clip)
        if self.n_frames == 1:
            return found[0]
        return torch.cat([found.mean(0), found.diff(dim=0).abs().mean(0)])


def compute_image_statistics(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, SCALES * PER_SCALE): at each scale the mean and the deviation of grey, red-green and
    yellow-blue, and the strength of grey's slopes in each direction. H and W: at least 2^SCALES."""
    red, green, blue = images.unbind(1)
    opponents = torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)
    found = []
    for _ in range(_N_SCALES):
        found += [
            opponents.mean((2, 3)),
            opponents.std((2, 3)),
            _compute_oriented_gradients(opponents[:, 0]),
        ]
        opponents = F.avg_pool2d(opponents, 2)
    return torch.cat(found, dim=1)


def _compute_oriented_gradients(gray: Tensor) -> Tensor:
    """(N, H, W) -> (N, ORIENTATIONS) mean gradient length by its direction, modulo half a turn."""
    x, y = gray[:, :-1].diff(dim=2), gray[:, :, :-1].diff(dim=1)
    sector = (torch.atan2(y, x) / torch.pi * _N_ORIENTATIONS).round().long() % _N_ORIENTATIONS
    length = torch.hypot(x, y)
    return torch.stack([(length * (sector == k)).mean((1, 2)) for k in range(_N_ORIENTATIONS)], 1)


@dataclass(frozen=True)
class NetworkFeatureExtractor:
    """What a network answers. network: (1, 3, H, W), or with n_frames > 1 (1, 3, T, H, W), in [-1, 1] -> (1, D)."""

    name: str
    n_frames: int
    network: Callable[[Tensor], Tensor]
    device: torch.device

    @torch.no_grad()
    def __call__(self, clip: Tensor) -> Tensor:
        batch = clip if self.n_frames == 1 else clip.transpose(0, 1)[None]
        return self.network(batch.to(self.device)).flatten()
