"""Stop a training step before it is made if a loss or a gradient is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from models.losses.vid2vid import Losses
from models.networks.collection import Vid2VidModels
from util.distributed.process_group import ProcessGroup


class NonFiniteError(ArithmeticError):
    """A loss or a gradient is not finite.

    Attributes:
        losses: All losses of the window.
    """

    def __init__(self, message: str, losses: Mapping[str, float]) -> None:
        super().__init__(message)
        self.losses = losses


def reduce_and_check_losses(
    losses_by_optimizer: Mapping[str, Losses], extra_scalars: Tensor, process_group: ProcessGroup
) -> tuple[dict[str, float], list[float]]:
    """Average losses over all processes and check that they are finite.

    All values travel together: one transfer from the device and one all-reduce.

    Args:
        losses_by_optimizer: Losses of a window.
        extra_scalars: Further values (n,) to average.
        process_group: The processes.

    Returns:
        The losses by name, and the extra scalars.

    Raises:
        NonFiniteError: Names the losses that are not finite.
    """
    named = {
        name: loss
        for losses in losses_by_optimizer.values()
        for name, loss in losses.named().items()
    }
    values = torch.cat([torch.stack(list(named.values())), extra_scalars])
    process_group.all_reduce_mean([values])
    scalars = values.tolist()
    losses = dict(zip(named, scalars, strict=False))
    not_finite = [f"{name} is {loss}" for name, loss in losses.items() if not math.isfinite(loss)]
    if not_finite:
        raise NonFiniteError(", ".join(not_finite), losses)
    return losses, scalars[len(named) :]


def check_finite_gradients(networks: Vid2VidModels, losses: Mapping[str, float]) -> None:
    """Check that all gradients are finite (one transfer from the device if they are).

    Raises:
        NonFiniteError: Names the parameters whose gradients are not finite.
    """
    gradients = {
        f"{name}.{key}": parameter.grad
        for name, network in networks.named_networks().items()
        for key, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    if torch.nn.utils.get_total_norm(list(gradients.values())).isfinite():
        return
    # The norm also overflows if finite gradients are very large, so look at each.
    not_finite = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    if not_finite:
        raise NonFiniteError(
            f"all losses are finite, but the gradients of {len(not_finite)} parameters are not, "
            f"{', '.join(not_finite[:3])} among them",
            losses,
        )
