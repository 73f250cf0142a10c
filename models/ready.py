"""Trained networks on the device where they paint, as it wants their weights."""

from __future__ import annotations

import torch
from torch import nn

from models.blocks import HeadConv2d
from util.placement.precision import HALF, Precision


def ready(networks: nn.ModuleList, amp: str, device: torch.device) -> nn.ModuleList:
    """The generators, moved in place, to paint with `--amp` as given and nothing else.

    On a GPU in half precision the weights of convolutions are laid out for tensor cores and narrowed now, to what
    `autocast` would make of them in every frame anew: 2.5 GB to read and write for the 411 million of a street.
    """
    precision = Precision(amp, device.type)
    networks.to(device, memory_format=precision.layout)  # type: ignore[call-overload]
    return narrowed(networks, HALF[amp]) if precision.half_on_gpu else networks


def narrowed(networks: nn.ModuleList, dtype: torch.dtype) -> nn.ModuleList:
    """In place. Norms stay in float32, and heads, of which those for flow and weight compute in it."""
    for part in networks.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and not isinstance(part, HeadConv2d):
            part.to(dtype)
    return networks
