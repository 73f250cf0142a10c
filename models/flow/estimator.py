"""What every reference flow fulfils, and how far its vectors are believed."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from models.flow.warp import warp
from util.clip import FlowEstimate

_MAX_WARP_ERROR = (
    0.02  # largest squared RGB difference, in [-1, 1], that a right vector leaves (SPEC 9)
)


class FlowEstimator(ABC):
    """An estimator of backward flow in pixels: `current(p) ~ previous(p + flow(p))`. It never trains.

    Images are (N, 3, H, W) in [-1, 1], on any device; answers are float32, without gradient, on the same one.
    """

    name: str  # as spelled after --flow_net
    version: str  # what the vectors depend on besides the images: the weights, the library
    is_worker_safe = False  # whether the data loader's workers may run it: picklable, and on a CPU

    @abstractmethod
    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        """(N, 2, H, W)."""

    def __call__(self, current: Tensor, previous: Tensor) -> FlowEstimate:
        """The vectors, and where they are believed."""
        return add_confidence(self.estimate(current, previous), current, previous)


class ZeroFlowEstimator(FlowEstimator):
    """Knows nothing: zero vectors that nobody believes, so that every masked term is 0."""

    name = "none"
    version = ""
    is_worker_safe = True

    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        return current.new_zeros(current.shape[0], 2, *current.shape[2:], dtype=torch.float32)

    def __call__(self, current: Tensor, previous: Tensor) -> FlowEstimate:
        flow = self.estimate(current, previous)
        return FlowEstimate(flow, flow[:, :1])


@torch.no_grad()
def add_confidence(flow: Tensor, current: Tensor, previous: Tensor) -> FlowEstimate:
    """The flow (N, 2, H, W) of an image pair (N, 3, H, W), believed where it carries previous onto current."""
    difference = (current - warp(previous, flow)).float().square().sum(1, keepdim=True)
    return FlowEstimate(flow.float(), (difference < _MAX_WARP_ERROR).float())


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) to (H, W), bilinear, half-pixel centres."""
    return (
        maps
        if maps.shape[2:] == size
        else F.interpolate(maps, size, mode="bilinear", align_corners=False)
    )


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 2, H, W) pixels to (H, W), in its pixels: x and y scale by their own ratios."""
    ratio = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]])
    return resize_maps(flow, size) * ratio[:, None, None]


@torch.no_grad()
def estimate_clip_flow(
    flow_estimator: FlowEstimator, current: Tensor, previous: Tensor, cached_flow: Tensor | None
) -> FlowEstimate:
    """Of P pairs of each of B clips: current, previous (B, P, 3, H, W) -> flow (B, P, 2, H, W) and confidence.

    known: the vectors, where a loader's worker has estimated them; then only their confidence is computed here.
    """
    images = current.flatten(0, 1), previous.flatten(0, 1)
    flow = (
        flow_estimator(*images)
        if cached_flow is None
        else add_confidence(cached_flow.flatten(0, 1).to(current.device), *images)
    )
    return FlowEstimate(
        flow.flow.unflatten(0, current.shape[:2]), flow.confidence.unflatten(0, current.shape[:2])
    )
