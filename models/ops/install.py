"""Installation of optimized ops into networks of plain PyTorch, by one call after their construction."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrize

from models.networks.blocks import BatchStatNorm2d
from models.networks.discriminators import MultiScaleDiscriminator
from models.networks.generators import (
    CompositeGenerator,
    CompositeGeneratorBase,
    CompositeLocalGenerator,
)
from models.ops.dispatch import MIN_WINOGRAD_CHANNELS
from models.ops.layers import (
    ChannelsLastBatchNorm2d,
    ChannelsLastLayer,
    KernelRowConv2d,
    KernelTapConv2d,
    LabelConv2d,
    LabelReflectionPad2d,
    WinogradConv2d,
)
from models.ops.networks import (
    OptimizedCompositeGenerator,
    OptimizedCompositeLocalGenerator,
    OptimizedDiscriminator,
)

_Network = TypeVar("_Network", bound=nn.Module)


def install_optimized_ops(network: _Network) -> _Network:
    """Replace, in place, the layers for which there are optimized ones; return the network.

    The network keeps its parameters, its buffers and their names, and computes the same up to rounding. Where optimized
    ops run is decided in each forward pass (`models.ops.dispatch`). A second call changes nothing.
    """
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            _install_in_stage(module)
    for module in network.modules():
        if isinstance(module, CompositeGenerator):
            _change_class(module, OptimizedCompositeGenerator)
            _install_in_generator(module)
        elif isinstance(module, CompositeLocalGenerator):
            _change_class(module, OptimizedCompositeLocalGenerator)
            _install_in_generator(module)
        elif isinstance(module, MultiScaleDiscriminator):
            _change_class(module, OptimizedDiscriminator)
            _install_in_discriminator(module)
    return network


def _change_class(module: nn.Module, new_class: type[nn.Module]) -> None:
    """Make a module an instance of a subclass of its class."""
    if isinstance(module, new_class):
        return
    if parametrize.is_parametrized(module):
        # torch has given the module a class of its own, with a property for each parametrized tensor
        properties = {
            name: value
            for name, value in vars(type(module)).items()
            if name not in ("__dict__", "__weakref__")
        }
        new_class = type(f"Parametrized{new_class.__name__}", (new_class,), properties)
    module.__class__ = new_class


def _supports_winograd(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size in ((3, 3), (4, 4))
        and layer.padding in ((0, 0), (1, 1), (2, 2))
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and min(layer.in_channels, layer.out_channels) >= MIN_WINOGRAD_CHANNELS
    )


def _install_in_stage(stage: nn.Sequential) -> None:
    for layer in stage:
        if _supports_winograd(layer):
            _change_class(layer, WinogradConv2d)
        elif isinstance(layer, BatchStatNorm2d):
            _change_class(layer, ChannelsLastBatchNorm2d)
    for previous, layer in pairwise(stage):
        if isinstance(layer, ChannelsLastBatchNorm2d):
            _connect(previous, layer)


def _connect(previous: nn.Module, layer: ChannelsLastLayer) -> None:
    """Tell a layer whether its input comes from a convolution by Winograd's algorithm."""
    if isinstance(previous, WinogradConv2d):
        layer.winograd_margin = previous.input_margin


def _install_in_generator(network: CompositeGeneratorBase) -> None:
    for name in ("model_down_seg", "indv_down"):
        if hasattr(network, name):
            pad, conv = network.get_submodule(name)[:2]  # type: ignore[index]
            _change_class(pad, LabelReflectionPad2d)
            _change_class(conv, LabelConv2d)
    if network.config.norm == "instance":
        return  # instance norms return contiguous maps, for which heads have no better operation
    for head in network.heads:
        _change_class(head[1], KernelRowConv2d)


def _install_in_discriminator(network: MultiScaleDiscriminator) -> None:
    config = network.config
    if config.norm == "instance" and config.n_layers:
        return  # instance norms return contiguous maps, for which the score has no better operation
    for scale in range(config.n_scales):
        layers = [layer for stage in network.get_layers(scale) for layer in stage]
        *_, previous, score = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        _change_class(score, KernelTapConv2d)
        assert isinstance(score, KernelTapConv2d)
        _connect(previous, score)
