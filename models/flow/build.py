"""Selection and construction of the reference flow estimator (`--flow_net`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from models.flow.estimator import FlowEstimator, ZeroFlowEstimator
from util.errors import UserError

FLOW_NETS = ("auto", "flownet2", "raft", "dis", "none")


@dataclass(frozen=True)
class FlowConfig:
    """The reference flow options of the command line.

    Attributes:
        flow_net: One of FLOW_NETS. `auto`: FlowNet2 if its file exists, else RAFT if its weights are named or
            cached, else DIS.
        flownet2_checkpoint: The published FlowNet2 weights. The file must exist only for `flownet2`.
        raft_weights: A state dict of torchvision's RAFT. None: torchvision's own weights, downloaded if not cached.
    """

    flow_net: str = "auto"
    flownet2_checkpoint: Path = Path("models/flownet2_pytorch/FlowNet2_checkpoint.pth.tar")
    raft_weights: Path | None = None

    def __post_init__(self) -> None:
        if self.flow_net not in FLOW_NETS:
            raise UserError(
                f"--flow_net {self.flow_net}: unknown; expected one of {', '.join(FLOW_NETS)}"
            )


def build_flow_estimator(config: FlowConfig, device: torch.device) -> tuple[FlowEstimator, str]:
    """Return the estimator with its weights on `device`, and a line for the log: which one, and why."""
    if config.flow_net == "auto":
        name, reason = _select_flow_net(config)
    else:
        name, reason = config.flow_net, "set by --flow_net"
    return _load_flow_estimator(name, config, device), f"reference flow: {name} ({reason})"


def _select_flow_net(config: FlowConfig) -> tuple[str, str]:
    """Return the best estimator whose weights are available, and the reason."""
    from models.flow.raft import find_cached_raft_weights

    if config.flownet2_checkpoint.is_file():
        return "flownet2", f"found its weights: {config.flownet2_checkpoint}"
    if config.raft_weights is not None:
        return "raft", f"--raft_weights {config.raft_weights}"
    no_flownet2 = f"no FlowNet2 weights at {config.flownet2_checkpoint}"
    path = find_cached_raft_weights()
    if path is not None:
        return "raft", f"{no_flownet2}; RAFT weights are cached: {path}"
    return "dis", f"{no_flownet2}; RAFT weights are not cached; dis needs no weights"


def _load_flow_estimator(name: str, config: FlowConfig, device: torch.device) -> FlowEstimator:
    # Imported on demand, so that torchvision and OpenCV are needed only by the estimators that use them.
    if name == "flownet2":
        from models.flow.flownet2 import load_flownet2

        return load_flownet2(config.flownet2_checkpoint, device)
    if name == "raft":
        from models.flow.raft import load_raft

        return load_raft(config.raft_weights, device)
    if name == "dis":
        from models.flow.dis import DISFlowEstimator

        return DISFlowEstimator()
    return ZeroFlowEstimator()
