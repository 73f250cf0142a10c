"""Example of a flow estimator: one translation for the whole image."""

from __future__ import annotations

import torch
from torch import Tensor

from models.flow.estimator import FlowEstimator


class TranslationFlowEstimator(FlowEstimator):
    """Phase correlation: finds the shift between two images, in whole pixels."""

    name = "translation"  # the value of --flow_net
    version = "1"  # part of the flow cache's key: change it when the results change
    is_worker_safe = True  # picklable and fast on a CPU: the loader's workers may run it

    @torch.no_grad()
    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        """Return backward flow (N, 2, H, W) of image pairs (N, 3, H, W) in [-1, 1]."""
        height, width = current.shape[-2:]
        spectrum = (
            torch.fft.fft2(previous.float().mean(1))
            * torch.fft.fft2(current.float().mean(1)).conj()
        )
        correlation = torch.fft.ifft2(spectrum / spectrum.abs().clamp(min=1e-8)).real
        peak = correlation.flatten(1).argmax(dim=1)
        y, x = peak // width, peak % width
        # The correlation is periodic: the second half of the positions are negative shifts.
        x = torch.where(x > width // 2, x - width, x)
        y = torch.where(y > height // 2, y - height, y)
        flow = torch.stack([x, y], dim=1).float()
        return flow[:, :, None, None].expand(-1, -1, height, width).contiguous()
