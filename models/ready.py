"""Trained networks on the device where they paint, as it wants their weights."""

from __future__ import annotations

import torch
from torch import nn

from models.blocks import Conv3x3, HeadConv2d
from models.fast.choice import wide
from models.fast.winograd import transformed
from util.placement.precision import HALF, Precision

MOST_KEPT = 2**30  # bytes of transformed weights: four times the weights


def ready(networks: nn.ModuleList, amp: str, device: torch.device) -> nn.ModuleList:
    """The generators, moved in place, to paint with `--amp` as given and nothing else.

    On a GPU in half precision the weights of convolutions are laid out for tensor cores and narrowed now, to what
    `autocast` would make of them in every frame anew: 2.5 GB to read and write for the 411 million of a street. On a
    CPU, in full precision, their transforms for Winograd are kept.
    """
    precision = Precision(amp, device.type)
    networks.to(device, memory_format=precision.layout)  # type: ignore[call-overload]
    if precision.half_on_gpu:
        return narrowed(networks, HALF[amp])
    return with_kernels(networks) if device.type == "cpu" and amp == "off" else networks


def with_kernels(networks: nn.ModuleList) -> nn.ModuleList:
    """In place, unless they would take more than MOST_KEPT: then every frame transforms the weights anew, a tenth of
    its time for small pictures and less for large ones."""
    parts = [part for part in networks.modules() if isinstance(part, Conv3x3) and wide(part.weight)]
    if sum(4 * part.weight.nbytes for part in parts) <= MOST_KEPT:
        for part in parts:
            part.kernels = transformed(part.weight.detach())
    return networks


def narrowed(networks: nn.ModuleList, dtype: torch.dtype) -> nn.ModuleList:
    """In place. Norms stay in float32, and heads, of which those for flow and weight compute in it."""
    for part in networks.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and not isinstance(part, HeadConv2d):
            part.to(dtype)
    return networks
