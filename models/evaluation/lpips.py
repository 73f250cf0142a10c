"""LPIPS (Zhang et al., CVPR 2018) through the lpips package, if it is installed with its weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from models.evaluation.video_metrics import MetricValues, array_to_tensor
from util.images.pairs import RealFakePair
from util.runtime.torchvision_compat import import_torchvision

ALEXNET_WEIGHTS_FILE = "alexnet-owt-7be5be79.pth"


@dataclass(frozen=True)
class LPIPSMetric:
    """LPIPS of the latest pair, a `models.evaluation.video_metrics.Metric`.

    Attributes:
        network: `lpips.LPIPS`.
        device: Where the network runs.
    """

    network: nn.Module
    device: torch.device

    @torch.no_grad()
    def __call__(self, latest_pairs: Sequence[RealFakePair]) -> MetricValues:
        """Return `lpips`."""
        real, fake = (array_to_tensor(image, self.device) for image in latest_pairs[-1])
        return {"lpips": float(self.network(real, fake))}


def load_lpips_metric(device: torch.device) -> tuple[LPIPSMetric | None, str]:
    """Return the metric, or None if it is not installed, and a description. Nothing is downloaded."""
    if find_spec("lpips") is None:
        return None, "skipped: the package lpips is not installed (pip install lpips)"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_WEIGHTS_FILE
    if not weights.is_file():
        return None, f"skipped: no torchvision AlexNet at {weights}"
    return LPIPSMetric(_load_lpips_network().to(device), device), f"AlexNet, {weights}"


def _load_lpips_network() -> nn.Module:
    import_torchvision()
    import lpips

    with warnings.catch_warnings():
        # lpips passes `pretrained=`, which torchvision has deprecated.
        warnings.filterwarnings("ignore", module="torchvision", category=UserWarning)
        return lpips.LPIPS(net="alex", verbose=False)
