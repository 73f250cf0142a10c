"""RAFT (Teed and Deng, ECCV 2020), torchvision's, as a reference flow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow.estimator import FlowEstimator
from util.errors import UserError
from util.io.atomic import hash_file
from util.io.state_dict import describe_state_dict_mismatch, safe_load_dict
from util.runtime.torchvision_compat import import_torchvision

_RAFT_FLAG = "--raft_weights"
RAFT_VARIANTS = ("raft_large", "raft_small")  # in the order that the cache is searched
_RAFT_SIZE_MULTIPLE, _RAFT_MIN_SIDE = 8, 128  # sides that its feature pyramid takes


class RAFTFlowEstimator(FlowEstimator):
    """Any size: borders are repeated up to what the network takes, and the flow cut back.

    network: (current, previous) -> its successive estimates (N, 2, H, W), the best one last.
    """

    name = "raft"

    def __init__(
        self, network: Callable[[Tensor, Tensor], list[Tensor]], version: str = ""
    ) -> None:
        self.network = network
        self.version = version

    @torch.no_grad()
    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        height, width = current.shape[2:]
        (top, bottom), (left, right) = _compute_padding(height), _compute_padding(width)
        padded = [
            F.pad(image.float(), (left, right, top, bottom), "replicate")
            for image in (current, previous)
        ]
        with torch.autocast(current.device.type, enabled=False):
            flow = self.network(*padded)[-1]
        return flow[:, :, top : top + height, left : left + width]


def _compute_padding(side: int) -> tuple[int, int]:
    """Before and after, to the next side that the network takes."""
    missing = max(-(-side // _RAFT_SIZE_MULTIPLE) * _RAFT_SIZE_MULTIPLE, _RAFT_MIN_SIDE) - side
    return missing // 2, missing - missing // 2


def load_raft(path: Path | None, device: torch.device) -> RAFTFlowEstimator:
    """path: a state dict of raft_large or raft_small; None: torchvision's, downloaded unless cached. UserError."""
    path = path or find_cached_raft_weights() or _download_weights()
    network = _load_raft_network(path).requires_grad_(False).eval().to(device)
    return RAFTFlowEstimator(network, hash_file(path))


def find_cached_raft_weights() -> Path | None:
    """Where torch keeps the weights of a RAFT of torchvision, if it does."""
    return next(
        (path for variant in RAFT_VARIANTS if (path := _get_cache_path(variant)).is_file()), None
    )


def _load_raft_network(path: Path) -> nn.Module:
    state, found = safe_load_dict(path, _RAFT_FLAG), []
    for variant in RAFT_VARIANTS:
        with torch.device("meta"):
            network = getattr(_import_optical_flow(), variant)(weights=None, progress=False)
        if not (wrong := describe_state_dict_mismatch(network, state)):
            network.load_state_dict(state, assign=True)
            return network
        found.append(f"{variant}: {wrong}")
    raise UserError(
        f"{path} ({_RAFT_FLAG}) holds the weights of neither RAFT of torchvision; {'; '.join(found)}"
    )


def _get_cache_path(variant: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / _get_weights_url(variant).rsplit("/", 1)[-1]


def _download_weights() -> Path:
    path = _get_cache_path(RAFT_VARIANTS[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(_get_weights_url(RAFT_VARIANTS[0]), str(path))
    except (URLError, OSError) as fault:
        raise UserError(
            f"--flow_net raft: {path} is not there and could not be downloaded ({fault}): name a file of "
            f"its weights with {_RAFT_FLAG}, or use --flow_net dis or none"
        ) from None
    return path


def _get_weights_url(variant: str) -> str:
    weights = {"raft_large": "Raft_Large_Weights", "raft_small": "Raft_Small_Weights"}[variant]
    return getattr(_import_optical_flow(), weights).DEFAULT.url


def _import_optical_flow() -> Any:
    return import_torchvision().models.optical_flow
