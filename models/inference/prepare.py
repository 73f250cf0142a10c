"""Preparation of trained generators for inference: optimized ops, device, and the form of their weights."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain

import torch
from torch import nn

from models.networks.blocks import use_per_sample_stats
from models.networks.generators import CompositeGeneratorBase
from models.ops.install import install_optimized_ops
from models.ops.layers import WinogradConv2d
from models.ops.winograd import transform_weight
from util.distributed.amp import AMP_DTYPES, Precision

MAX_WINOGRAD_CACHE_BYTES = 2**30  # of transformed weights, which are four times as large


def prepare_for_inference(netG: nn.ModuleList, amp: str, device: torch.device) -> nn.ModuleList:
    """Move generators to a device and prepare them, in place, for inference with `--amp` as given only.

    Each sample of a batch is normalized by its own statistics.

    On a GPU in half precision, the weights of convolutions become channels_last, for tensor cores, and are cast once.
    Autocast would cast them in every frame: 2.5 GB to read and write for the 411 million weights of the street model.
    On a CPU in full precision, Winograd transforms of the weights are kept.
    """
    install_optimized_ops(netG)
    use_per_sample_stats(netG)
    precision = Precision(amp, device.type)
    netG.to(device, memory_format=precision.memory_format)  # type: ignore[call-overload]
    if precision.is_half_on_gpu:
        return cast_conv_weights(netG, AMP_DTYPES[amp])
    if device.type == "cpu" and amp == "off":
        return cache_winograd_weights(netG)
    return netG


def share_for_inference(netG: nn.ModuleList) -> nn.ModuleList:
    """Return a copy of generators in training that shares their weights and normalizes each sample by itself.

    Forward passes of the copy do not update running statistics.
    """
    shared = {id(tensor): tensor for tensor in chain(netG.parameters(), netG.buffers())}
    copied = deepcopy(netG, shared)
    use_per_sample_stats(copied)
    return copied


def cache_winograd_weights(netG: nn.ModuleList) -> nn.ModuleList:
    """Keep the Winograd transforms of all weights, in place, unless they take more than MAX_WINOGRAD_CACHE_BYTES.

    Without them every frame transforms the weights: a tenth of its time for small images, less for large ones.
    """
    convs = [module for module in netG.modules() if isinstance(module, WinogradConv2d)]
    if sum(4 * conv.weight.nbytes for conv in convs) <= MAX_WINOGRAD_CACHE_BYTES:
        for conv in convs:
            conv.winograd_weight = transform_weight(conv.weight.detach())
    return netG


def cast_conv_weights(netG: nn.ModuleList, dtype: torch.dtype) -> nn.ModuleList:
    """Cast the weights of convolutions in place, except those of heads: flow and blend weight are float32."""
    head_layers: set[nn.Module] = set()
    for network in netG:
        if isinstance(network, CompositeGeneratorBase):
            head_layers.update(layer for head in network.heads for layer in head)
    for module in netG.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module not in head_layers:
            module.to(dtype)
    return netG
