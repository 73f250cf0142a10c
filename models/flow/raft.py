"""torchvision's RAFT (Teed and Deng, ECCV 2020) as a reference flow estimator."""

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

RAFT_VARIANTS = ("raft_large", "raft_small")  # in the order in which the cache is searched
_RAFT_WEIGHTS = {"raft_large": "Raft_Large_Weights", "raft_small": "Raft_Small_Weights"}
_RAFT_FLAG = "--raft_weights"
_RAFT_SIZE_MULTIPLE = 8  # the feature maps are 8 times smaller than the images
_RAFT_MIN_SIDE = 128  # the smallest side that RAFT's correlation pyramid accepts


class RAFTFlowEstimator(FlowEstimator):
    """RAFT for images of any size: they are padded by replication, and the flow is cropped back.

    Attributes:
        network: Maps (current, previous) to the flow (N, 2, H, W) after each iteration; the last one is the result.
    """

    name = "raft"

    def __init__(
        self, network: Callable[[Tensor, Tensor], list[Tensor]], version: str = ""
    ) -> None:
        self.network = network
        self.version = version

    @torch.no_grad()
    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        """Return the flow, (N, 2, H, W)."""
        height, width = current.shape[2:]
        top, bottom = _compute_padding(height)
        left, right = _compute_padding(width)
        padded = [
            F.pad(image.float(), (left, right, top, bottom), "replicate")
            for image in (current, previous)
        ]
        with torch.autocast(current.device.type, enabled=False):
            flow = self.network(*padded)[-1]
        return flow[:, :, top : top + height, left : left + width]


def _compute_padding(side: int) -> tuple[int, int]:
    """Return the padding before and after, up to the next side that RAFT accepts."""
    padded_side = -(-side // _RAFT_SIZE_MULTIPLE) * _RAFT_SIZE_MULTIPLE
    padding = max(padded_side, _RAFT_MIN_SIDE) - side
    return padding // 2, padding - padding // 2


def load_raft(path: Path | None, device: torch.device) -> RAFTFlowEstimator:
    """Load RAFT onto `device`.

    Args:
        path: A state dict of raft_large or raft_small. None: torchvision's weights, downloaded if not cached.
        device: Where the network runs.

    Raises:
        UserError: The file is missing or broken, holds other weights, or cannot be downloaded.
    """
    path = path or find_cached_raft_weights() or _download_weights()
    network = _load_raft_network(path).requires_grad_(False).eval().to(device)
    return RAFTFlowEstimator(network, hash_file(path))


def find_cached_raft_weights() -> Path | None:
    """Return torch hub's cached file of the first variant that has one, or None."""
    paths = map(_get_cache_path, RAFT_VARIANTS)
    return next((path for path in paths if path.is_file()), None)


def _load_raft_network(path: Path) -> nn.Module:
    """Return the variant that the weights fit."""
    state = safe_load_dict(path, _RAFT_FLAG)
    mismatches = []
    for variant in RAFT_VARIANTS:
        with torch.device("meta"):
            network = getattr(_import_optical_flow(), variant)(weights=None, progress=False)
        mismatch = describe_state_dict_mismatch(network, state)
        if not mismatch:
            network.load_state_dict(state, assign=True)
            return network
        mismatches.append(f"{variant}: {mismatch}")
    raise UserError(
        f"{path} ({_RAFT_FLAG}) matches neither RAFT of torchvision: {'; '.join(mismatches)}"
    )


def _get_cache_path(variant: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / _get_weights_url(variant).rsplit("/", 1)[-1]


def _download_weights() -> Path:
    variant = RAFT_VARIANTS[0]
    path = _get_cache_path(variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(_get_weights_url(variant), str(path))
    except (URLError, OSError) as error:
        raise UserError(
            f"--flow_net raft: no weights at {path}, and the download failed ({error}): name a weights file "
            f"with {_RAFT_FLAG}, or use --flow_net dis or none"
        ) from None
    return path


def _get_weights_url(variant: str) -> str:
    return getattr(_import_optical_flow(), _RAFT_WEIGHTS[variant]).DEFAULT.url


def _import_optical_flow() -> Any:
    return import_torchvision().models.optical_flow
