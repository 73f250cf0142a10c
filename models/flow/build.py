"""Which reference flow a run uses, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from models.flow.estimator import FlowEstimator, ZeroFlowEstimator
from util.errors import UserError

FLOW_NETS = ("auto", "flownet2", "raft", "dis", "none")


@dataclass(frozen=True)
class FlowConfig:
    """What the command line says about the reference flow.

    flow_net: one of FLOW_NETS.
    flownet2_checkpoint: the published weights, a file that need not exist unless flow_net is `flownet2`.
    raft_weights: None means torchvision's own, from the usual cache.
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
    """The reference flow with its weights on the device, and one sentence for the log saying which and why."""
    name, why = (
        _select_flow_net(config)
        if config.flow_net == "auto"
        else (config.flow_net, "--flow_net asks for it")
    )
    return _load_flow_estimator(name, config, device), f"reference flow: {name} ({why})"


def _select_flow_net(config: FlowConfig) -> tuple[str, str]:
    if config.flownet2_checkpoint.is_file():
        return "flownet2", f"its weights are there: {config.flownet2_checkpoint}"
    if config.raft_weights is not None:
        return "raft", f"its weights are given: {config.raft_weights}"
    missing = f"FlowNet2's weights are not at {config.flownet2_checkpoint}"
    from models.flow.raft import find_cached_raft_weights

    if (path := find_cached_raft_weights()) is not None:
        return "raft", f"{missing}, RAFT's are cached: {path}"
    return "dis", f"{missing}, RAFT's are not cached; dis needs none"


def _load_flow_estimator(name: str, config: FlowConfig, device: torch.device) -> FlowEstimator:
    """Imports what is chosen alone: torchvision and OpenCV need not be there for the others."""
    if name == "flownet2":
        from models.flow.flownet2_estimator import load_flownet2

        return load_flownet2(config.flownet2_checkpoint, device)
    if name == "raft":
        from models.flow.raft import load_raft

        return load_raft(config.raft_weights, device)
    if name == "dis":
        from models.flow.dis import DISFlowEstimator

        return DISFlowEstimator()
    return ZeroFlowEstimator()
