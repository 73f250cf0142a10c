"""FlowNet2 as a reference flow: its file, and images of any size."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.flow.estimator import FlowEstimator, add_confidence, resize_flow, resize_maps
from models.flow.flownet2 import FLOWNET2_SIZE_MULTIPLE, FlowNet2
from util.clip import FlowEstimate
from util.errors import UserError
from util.io.atomic import hash_file
from util.io.state_dict import describe_state_dict_mismatch, safe_load_dict

_FLOWNET2_FLAG = "--flownet2_checkpoint"
_DOWNLOAD_SCRIPT = "scripts/download_models_flownet2.py"
_PUBLISHED_FILE_BYTES = 650_102_505
_SAFE_GLOBALS: list[
    Any
] = [  # a training run's best error, which lies beside published weights; nothing here runs code
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    codecs.encode,
]


class FlowNet2Estimator(FlowEstimator):
    """Any size: sides that are no multiple of 64 are estimated, and believed, on smaller images (SPEC 9).

    network: (first, second), both (N, 3, H, W) with sides that are multiples of 64 -> (N, 2, H, W).
    """

    name = "flownet2"

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], version: str = "") -> None:
        self.network = network
        self.version = version

    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        return self(current, previous).flow

    @torch.no_grad()
    def __call__(self, current: Tensor, previous: Tensor) -> FlowEstimate:
        height, width = current.shape[2:]
        size = _round_to_network_side(height), _round_to_network_side(width)
        with torch.autocast(
            current.device.type, enabled=False
        ):  # vectors of hundreds of pixels outgrow half precision
            first, second = resize_maps(current.float(), size), resize_maps(previous.float(), size)
            seen = add_confidence(self.network(first, second), first, second)
        return FlowEstimate(
            resize_flow(seen.flow, (height, width)), resize_maps(seen.confidence, (height, width))
        )


def _round_to_network_side(side: int) -> int:
    return max(side // FLOWNET2_SIZE_MULTIPLE, 1) * FLOWNET2_SIZE_MULTIPLE


def load_flownet2(path: Path, device: torch.device) -> FlowNet2Estimator:
    """The published file, a dict with `state_dict`. UserError: missing, broken, or other weights."""
    with torch.device("meta"):
        network = FlowNet2()
    state = _read_state_dict(path)
    if wrong := describe_state_dict_mismatch(network, state):
        raise UserError(
            f"{path} ({_FLOWNET2_FLAG}) is not FlowNet2's file: it holds {_describe_size(state.values())}, expected "
            f"{_describe_size(network.parameters())}; {wrong}: get it with {_DOWNLOAD_SCRIPT}"
        )
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False).eval().to(device)
    return FlowNet2Estimator(network, hash_file(path))


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f"--flow_net flownet2: {path} is not there: get it with {_DOWNLOAD_SCRIPT}, name it with {_FLOWNET2_FLAG}, "
            "or use --flow_net raft, dis or none"
        )
    try:
        with torch.serialization.safe_globals(_SAFE_GLOBALS):
            saved = safe_load_dict(path, _FLOWNET2_FLAG)
    except UserError as fault:
        raise UserError(
            f"{fault}; it has {path.stat().st_size:,} bytes, the published file {_PUBLISHED_FILE_BYTES:,}: "
            f"get it anew with {_DOWNLOAD_SCRIPT}"
        ) from None
    state = saved.get("state_dict")
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise UserError(
            f"{path} ({_FLOWNET2_FLAG}) is not FlowNet2's file: expected a dict whose state_dict holds its weights, "
            f"found {', '.join(map(str, list(saved)[:4])) or 'nothing'}: get it with {_DOWNLOAD_SCRIPT}"
        )
    return state


def _describe_size(tensors: Iterable[Tensor]) -> str:
    sizes = [tensor.numel() for tensor in tensors]
    return f"{sum(sizes):,} numbers in {len(sizes)} tensors"
