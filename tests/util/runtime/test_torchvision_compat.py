"""Tests of util/runtime/torchvision_compat.py."""

import subprocess
import sys

import torch

from util.runtime.torchvision_compat import import_torchvision


def test_networks_run() -> None:
    network = import_torchvision().models.vgg11(weights=None, num_classes=3).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_ordinary_import_works_afterwards() -> None:
    """Packages such as lpips and torchmetrics import torchvision themselves."""
    script = (
        "from util.runtime.torchvision_compat import import_torchvision; first = import_torchvision(); "
        "import torchvision; from torchvision.models.optical_flow import raft_small; "
        "assert torchvision is first"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
