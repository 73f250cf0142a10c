"""What every reference flow fulfils, and how far its vectors are believed."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from models.warp import warp
from util.clip import Flow

BELIEVED = 0.02  # largest squared RGB difference, in [-1, 1], that a right vector leaves (SPEC 9)


class ReferenceFlow(Protocol):
    """An estimator of backward flow. It never has gradients, and never trains."""

    @property
    def name(self) -> str:
        """As spelled after `--flow_net`."""
        ...

    def __call__(self, current: Tensor, previous: Tensor) -> Flow:
        """current, previous: (N, 3, H, W) in [-1, 1], on any device, where the answer is given.

        `current(p) ~ previous(p + flow(p))`, in pixels.
        """
        ...


class NoFlow:
    """Knows nothing: zero vectors that nobody believes, so that every masked term is 0."""

    name = "none"

    def __call__(self, current: Tensor, previous: Tensor) -> Flow:
        n, _, height, width = current.shape
        zeros = torch.zeros(n, 3, height, width, device=current.device)
        return Flow(zeros[:, :2], zeros[:, 2:])


@torch.no_grad()
def with_confidence(flow: Tensor, current: Tensor, previous: Tensor) -> Flow:
    """The flow (N, 2, H, W) of a picture pair (N, 3, H, W), believed where it carries previous onto current."""
    difference = (current - warp(previous, flow)).float().square().sum(1, keepdim=True)
    return Flow(flow.float(), (difference < BELIEVED).float())


@torch.no_grad()
def reference_flow(net: ReferenceFlow, current: Tensor, previous: Tensor, known: Tensor | None) -> Flow:
    """Of P pairs of each of B clips: current, previous (B, P, 3, H, W) -> flow (B, P, 2, H, W) and confidence.

    known: the vectors, where a loader's worker has estimated them; then only their confidence is computed here.
    """
    pictures = current.flatten(0, 1), previous.flatten(0, 1)
    flow = net(*pictures) if known is None else with_confidence(known.flatten(0, 1).to(current.device), *pictures)
    return Flow(flow.flow.unflatten(0, current.shape[:2]), flow.confidence.unflatten(0, current.shape[:2]))
