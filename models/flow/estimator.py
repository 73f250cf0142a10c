"""The interface of all reference flow estimators, and the confidence of a flow."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from models.flow.warp import warp
from util.clip import FlowEstimate

# As published: a flow vector is confident if the squared RGB difference that remains after warping,
# summed over the channels of images in [-1, 1], is below this threshold.
_MAX_WARP_ERROR = 0.02


class FlowEstimator(ABC):
    """An estimator of backward flow in pixels: `current(p) ~ previous(p + flow(p))`. It is never trained.

    Images are (N, 3, H, W) in [-1, 1] on any device. Results are float32 on the same device, without gradient.

    Attributes:
        name: The value of `--flow_net` that selects this estimator.
        version: What the flow depends on besides the images (hash of the weights, library version).
        is_worker_safe: Whether the data loader's workers can run it: picklable, and fast on a CPU.
    """

    name: str
    version: str
    is_worker_safe = False

    @abstractmethod
    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        """Return the flow, (N, 2, H, W)."""

    def __call__(self, current: Tensor, previous: Tensor) -> FlowEstimate:
        """Return the flow and its confidence."""
        return add_confidence(self.estimate(current, previous), current, previous)


class ZeroFlowEstimator(FlowEstimator):
    """`--flow_net none`: zero flow with zero confidence, so that every loss masked by it is 0."""

    name = "none"
    version = ""
    is_worker_safe = True

    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        """Return zeros."""
        return current.new_zeros(current.shape[0], 2, *current.shape[2:], dtype=torch.float32)

    def __call__(self, current: Tensor, previous: Tensor) -> FlowEstimate:
        """Return zero flow and zero confidence."""
        flow = self.estimate(current, previous)
        return FlowEstimate(flow, flow[:, :1])


@torch.no_grad()
def add_confidence(flow: Tensor, current: Tensor, previous: Tensor) -> FlowEstimate:
    """Add a confidence of 1 where the flow warps `previous` onto `current`, and 0 elsewhere.

    Args:
        flow: (N, 2, H, W) pixels, from `current` to `previous`.
        current: (N, 3, H, W) in [-1, 1].
        previous: (N, 3, H, W) in [-1, 1].
    """
    error = (current - warp(previous, flow)).float().square().sum(1, keepdim=True)
    return FlowEstimate(flow.float(), (error < _MAX_WARP_ERROR).float())


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, H, W) to `size` (H, W), bilinear with half-pixel centers."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize flow (N, 2, H, W) to `size` (H, W) and scale its x and y to pixels of the new size."""
    ratio = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]])
    return resize_maps(flow, size) * ratio[:, None, None]


@torch.no_grad()
def estimate_clip_flow(
    flow_estimator: FlowEstimator, current: Tensor, previous: Tensor, cached_flow: Tensor | None
) -> FlowEstimate:
    """Return flow (B, P, 2, H, W) and confidence (B, P, 1, H, W) of P image pairs of each of B clips.

    Args:
        flow_estimator: Estimates the flow if `cached_flow` is None.
        current: (B, P, 3, H, W).
        previous: (B, P, 3, H, W).
        cached_flow: (B, P, 2, H, W), estimated by the data loader's workers. Only its confidence is computed here,
            because it depends on the images as they are trained on.
    """
    images = current.flatten(0, 1), previous.flatten(0, 1)
    if cached_flow is None:
        estimate = flow_estimator(*images)
    else:
        flow = cached_flow.flatten(0, 1).to(current.device)
        estimate = add_confidence(flow, *images)
    batch_shape = current.shape[:2]
    return FlowEstimate(
        estimate.flow.unflatten(0, batch_shape), estimate.confidence.unflatten(0, batch_shape)
    )
