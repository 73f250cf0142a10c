"""Which reference flow a run uses, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from models.flow.dis import Dis
from models.flow.reference import NoFlow, ReferenceFlow

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


def choose_flow(config: FlowConfig, device: torch.device) -> tuple[ReferenceFlow, str]:
    """The reference flow on its device, and one sentence for the log saying which and why."""
    if config.flow_net == "none":
        return NoFlow(), "reference flow: none, as asked: its terms are 0"
    return Dis(), "reference flow: dis"
