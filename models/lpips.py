"""LPIPS (Zhang et al., CVPR 2018), where its package and the AlexNet that it reads are on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from models.evaluation import Figures, Pair, as_tensor
from util.torchvision_models import import_torchvision

ALEXNET = "alexnet-owt-7be5be79.pth"


@dataclass(frozen=True)
class Perceptual:
    """Fulfils `models.evaluation.Measure`. network: of the lpips package."""

    network: nn.Module
    device: torch.device

    @torch.no_grad()
    def __call__(self, latest: Sequence[Pair]) -> Figures:
        real, fake = (as_tensor(picture, self.device) for picture in latest[-1])
        return {"lpips": float(self.network(real, fake))}


def find_lpips(device: torch.device) -> tuple[Perceptual | None, str]:
    """The measure, or None; and a sentence saying why. Nothing is fetched."""
    if find_spec("lpips") is None:
        return None, "left out: the package lpips is not installed (pip install lpips)"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not weights.is_file():
        return None, f"left out: torchvision's AlexNet is not at {weights}"
    return Perceptual(_load().to(device), device), f"AlexNet, {weights}"


def _load() -> nn.Module:
    import_torchvision()
    import lpips

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchvision", category=UserWarning)  # lpips uses an old spelling
        return lpips.LPIPS(net="alex", verbose=False)
