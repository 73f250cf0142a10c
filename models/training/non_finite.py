"""What stops a step before it is made: losses and gradients that are no numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from models.losses.vid2vid import Losses
from models.networks.collection import Vid2VidModels
from util.distributed.process_group import ProcessGroup


class NonFiniteError(ArithmeticError):
    """Names what is not finite. losses: all terms of the window."""

    def __init__(self, message: str, losses: Mapping[str, float]) -> None:
        super().__init__(message)
        self.losses = losses


def reduce_and_check_losses(
    losses_by_optimizer: Mapping[str, Losses], extra_scalars: Tensor, process_group: ProcessGroup
) -> tuple[dict[str, float], list[float]]:
    """All terms as numbers, and those of `beside` (n,), which travel with them (one transfer from the device), the
    means of all processes. NotFinite names the terms that are none."""
    named = {
        name: value
        for terms in losses_by_optimizer.values()
        for side in (terms.generator, terms.discriminator)
        for name, value in side.items()
    }
    values = torch.cat([torch.stack(list(named.values())), extra_scalars])
    process_group.all_reduce_mean([values])
    numbers = values.tolist()
    losses = dict(zip(named, numbers, strict=False))
    if broken := [
        f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)
    ]:
        raise NonFiniteError(", ".join(broken), losses)
    return losses, numbers[len(named) :]


def check_finite_gradients(networks: Vid2VidModels, losses: Mapping[str, float]) -> None:
    """NotFinite names the weights whose gradient is not (one transfer from the device where all are)."""
    gradients = {
        f"{name}.{key}": weight.grad
        for name, network in networks.named_networks().items()
        for key, weight in network.named_parameters()
        if weight.grad is not None
    }
    if torch.nn.utils.get_total_norm(list(gradients.values())).isfinite():
        return  # else squares of finite numbers may have grown too large
    if broken := [name for name, gradient in gradients.items() if not gradient.isfinite().all()]:
        raise NonFiniteError(
            f"all losses are finite, but the gradients of {len(broken)} weights are not, "
            f"{', '.join(broken[:3])} among them",
            losses,
        )
