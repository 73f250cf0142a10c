"""RAFT (Teed and Deng, ECCV 2020), torchvision's, as a reference flow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow.reference import ReferenceFlow
from util.checkpoint import differences, read_file
from util.errors import UserError
from util.files import file_digest
from util.torchvision_models import import_torchvision

FLAG = "--raft_weights"
VARIANTS = ("raft_large", "raft_small")  # in the order that the cache is searched
MULTIPLE, SMALLEST = 8, 128  # sides that its feature pyramid takes


class Raft(ReferenceFlow):
    """Any size: borders are repeated up to what the network takes, and the flow cut back.

    network: (current, previous) -> its successive estimates (N, 2, H, W), the best one last.
    """

    name = "raft"

    def __init__(self, network: Callable[[Tensor, Tensor], list[Tensor]], version: str = "") -> None:
        self.network = network
        self.version = version

    @torch.no_grad()
    def vectors(self, current: Tensor, previous: Tensor) -> Tensor:
        height, width = current.shape[2:]
        (top, bottom), (left, right) = _margins(height), _margins(width)
        padded = [F.pad(picture.float(), (left, right, top, bottom), "replicate") for picture in (current, previous)]
        with torch.autocast(current.device.type, enabled=False):
            flow = self.network(*padded)[-1]
        return flow[:, :, top:top + height, left:left + width]


def _margins(side: int) -> tuple[int, int]:
    """Before and after, to the next side that the network takes."""
    missing = max(-(-side // MULTIPLE) * MULTIPLE, SMALLEST) - side
    return missing // 2, missing - missing // 2


def load_raft(path: Path | None, device: torch.device) -> Raft:
    """path: a state dict of raft_large or raft_small; None: torchvision's, downloaded unless cached. UserError."""
    path = path or cached_weights() or _download()
    network = _network_of(path).requires_grad_(False).eval().to(device)
    return Raft(network, file_digest(path))


def cached_weights() -> Path | None:
    """Where torch keeps the weights of a RAFT of torchvision, if it does."""
    return next((path for variant in VARIANTS if (path := _cache_path(variant)).is_file()), None)


def _network_of(path: Path) -> nn.Module:
    state, found = read_file(path, FLAG), []
    for variant in VARIANTS:
        with torch.device("meta"):
            network = getattr(_optical_flow(), variant)(weights=None, progress=False)
        if not (wrong := differences(network, state)):
            network.load_state_dict(state, assign=True)
            return network
        found.append(f"{variant}: {wrong}")
    raise UserError(f"{path} ({FLAG}) holds the weights of neither RAFT of torchvision; {'; '.join(found)}")


def _cache_path(variant: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / _url(variant).rsplit("/", 1)[-1]


def _download() -> Path:
    path = _cache_path(VARIANTS[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(_url(VARIANTS[0]), str(path))
    except (URLError, OSError) as fault:
        raise UserError(f"--flow_net raft: {path} is not there and could not be downloaded ({fault}): name a file of "
                        f"its weights with {FLAG}, or use --flow_net dis or none") from None
    return path


def _url(variant: str) -> str:
    weights = {"raft_large": "Raft_Large_Weights", "raft_small": "Raft_Small_Weights"}[variant]
    return getattr(_optical_flow(), weights).DEFAULT.url


def _optical_flow() -> Any:
    return import_torchvision().models.optical_flow
