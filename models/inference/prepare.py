"""Trained networks on the device where they paint, as it wants their weights."""

from __future__ import annotations

import torch
from torch import nn

from models.networks.blocks import Conv3x3, HeadConv2d
from models.ops.dispatch import is_wide
from models.ops.winograd import transform_weight
from util.distributed.amp import AMP_DTYPES, Precision

MAX_WINOGRAD_CACHE_BYTES = 2**30  # bytes of transformed weights: four times the weights


def prepare_for_inference(netG: nn.ModuleList, amp: str, device: torch.device) -> nn.ModuleList:
    """The generators, moved in place, to paint with `--amp` as given and nothing else.

    On a GPU in half precision the weights of convolutions are laid out for tensor cores and narrowed now, to what
    `autocast` would make of them in every frame anew: 2.5 GB to read and write for the 411 million of a street. On a
    CPU, in full precision, their transforms for Winograd are kept.
    """
    precision = Precision(amp, device.type)
    netG.to(device, memory_format=precision.memory_format)  # type: ignore[call-overload]
    if precision.is_half_on_gpu:
        return cast_conv_weights(netG, AMP_DTYPES[amp])
    return cache_winograd_weights(netG) if device.type == "cpu" and amp == "off" else netG


def cache_winograd_weights(netG: nn.ModuleList) -> nn.ModuleList:
    """In place, unless they would take more than MOST_KEPT: then every frame transforms the weights anew, a tenth of
    its time for small images and less for large ones."""
    parts = [part for part in netG.modules() if isinstance(part, Conv3x3) and is_wide(part.weight)]
    if sum(4 * part.weight.nbytes for part in parts) <= MAX_WINOGRAD_CACHE_BYTES:
        for part in parts:
            part.winograd_weight = transform_weight(part.weight.detach())
    return netG


def cast_conv_weights(netG: nn.ModuleList, dtype: torch.dtype) -> nn.ModuleList:
    """In place. Norms stay in float32, and heads, of which those for flow and weight compute in it."""
    for part in netG.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and not isinstance(part, HeadConv2d):
            part.to(dtype)
    return netG
