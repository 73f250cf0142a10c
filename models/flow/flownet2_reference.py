"""FlowNet2 as a reference flow: its file, and pictures of any size."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.flow.flownet2 import MULTIPLE, FlowNet2
from models.flow.reference import ReferenceFlow, resize, resize_flow, with_confidence
from util.checkpoint import differences, read_file
from util.clip import Flow
from util.errors import UserError
from util.files import file_digest

FLAG = "--flownet2_checkpoint"
DOWNLOAD = "scripts/download_models_flownet2.py"
PUBLISHED_BYTES = 650_102_505
NUMBERS: list[Any] = [  # a training run's best error, which lies beside published weights; nothing here runs code
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"), np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, codecs.encode]


class FlowNet2Reference(ReferenceFlow):
    """Any size: sides that are no multiple of 64 are estimated, and believed, on smaller pictures (SPEC 9).

    network: (first, second), both (N, 3, H, W) with sides that are multiples of 64 -> (N, 2, H, W).
    """

    name = "flownet2"

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], version: str = "") -> None:
        self.network = network
        self.version = version

    def vectors(self, current: Tensor, previous: Tensor) -> Tensor:
        return self(current, previous).flow

    @torch.no_grad()
    def __call__(self, current: Tensor, previous: Tensor) -> Flow:
        height, width = current.shape[2:]
        size = _network_side(height), _network_side(width)
        with torch.autocast(current.device.type, enabled=False):  # vectors of hundreds of pixels outgrow half precision
            first, second = resize(current.float(), size), resize(previous.float(), size)
            seen = with_confidence(self.network(first, second), first, second)
        return Flow(resize_flow(seen.flow, (height, width)), resize(seen.confidence, (height, width)))


def _network_side(side: int) -> int:
    return max(side // MULTIPLE, 1) * MULTIPLE


def load_flownet2(path: Path, device: torch.device) -> FlowNet2Reference:
    """The published file, a dict with `state_dict`. UserError: missing, broken, or other weights."""
    with torch.device("meta"):
        network = FlowNet2()
    state = _read(path)
    if wrong := differences(network, state):
        raise UserError(f"{path} ({FLAG}) is not FlowNet2's file: it holds {_size(state.values())}, expected "
                        f"{_size(network.parameters())}; {wrong}: get it with {DOWNLOAD}")
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False).eval().to(device)
    return FlowNet2Reference(network, file_digest(path))


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"--flow_net flownet2: {path} is not there: get it with {DOWNLOAD}, name it with {FLAG}, "
                        "or use --flow_net raft, dis or none")
    try:
        with torch.serialization.safe_globals(NUMBERS):
            saved = read_file(path, FLAG)
    except UserError as fault:
        raise UserError(f"{fault}; it has {path.stat().st_size:,} bytes, the published file {PUBLISHED_BYTES:,}: "
                        f"get it anew with {DOWNLOAD}") from None
    state = saved.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} ({FLAG}) is not FlowNet2's file: expected a dict whose state_dict holds its weights, "
                        f"found {', '.join(map(str, list(saved)[:4])) or 'nothing'}: get it with {DOWNLOAD}")
    return state


def _size(tensors: Iterable[Tensor]) -> str:
    sizes = [tensor.numel() for tensor in tensors]
    return f"{sum(sizes):,} numbers in {len(sizes)} tensors"
