"""LPIPS (Zhang et al., CVPR 2018), where its package and the AlexNet that it reads are on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from models.evaluation.video_metrics import ImagePair, MetricValues, array_to_tensor
from util.runtime.torchvision_compat import import_torchvision

ALEXNET_WEIGHTS_FILE = "alexnet-owt-7be5be79.pth"


@dataclass(frozen=True)
class LPIPSMetric:
    """Fulfils `models.evaluation.video_metrics.Metric`. network: of the lpips package."""

    network: nn.Module
    device: torch.device

    @torch.no_grad()
    def __call__(self, latest_pairs: Sequence[ImagePair]) -> MetricValues:
        real, fake = (array_to_tensor(image, self.device) for image in latest_pairs[-1])
        return {"lpips": float(self.network(real, fake))}


def load_lpips_metric(device: torch.device) -> tuple[LPIPSMetric | None, str]:
    """The measure, or None; and a sentence saying why. Nothing is fetched."""
    if find_spec("lpips") is None:
        return None, "left out: the package lpips is not installed (pip install lpips)"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_WEIGHTS_FILE
    if not weights.is_file():
        return None, f"left out: torchvision's AlexNet is not at {weights}"
    return LPIPSMetric(_load_lpips_network().to(device), device), f"AlexNet, {weights}"


def _load_lpips_network() -> nn.Module:
    import_torchvision()
    import lpips

    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", module="torchvision", category=UserWarning
        )  # lpips uses an old spelling
        return lpips.LPIPS(net="alex", verbose=False)
