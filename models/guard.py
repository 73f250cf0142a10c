"""What stops a step before it is made: losses and gradients that are no numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from models.networks import Networks
from models.objectives import Terms
from util.placement.processes import Processes


class NotFinite(ArithmeticError):
    """Names what is not finite. losses: all terms of the window."""

    def __init__(self, message: str, losses: Mapping[str, float]) -> None:
        super().__init__(message)
        self.losses = losses


def checked_losses(players: Mapping[str, Terms], beside: Tensor,
                   processes: Processes) -> tuple[dict[str, float], list[float]]:
    """All terms as numbers, and those of `beside` (n,), which travel with them (one transfer from the device), the
    means of all processes. NotFinite names the terms that are none."""
    named = {name: value for terms in players.values() for side in (terms.generator, terms.discriminator)
             for name, value in side.items()}
    values = torch.cat([torch.stack(list(named.values())), beside])
    processes.average([values])
    numbers = values.tolist()
    losses = dict(zip(named, numbers, strict=False))
    if broken := [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]:
        raise NotFinite(", ".join(broken), losses)
    return losses, numbers[len(named):]


def check_gradients(networks: Networks, losses: Mapping[str, float]) -> None:
    """NotFinite names the weights whose gradient is not (one transfer from the device where all are)."""
    gradients = {f"{name}.{key}": weight.grad for name, network in networks.named().items()
                 for key, weight in network.named_parameters() if weight.grad is not None}
    if torch.nn.utils.get_total_norm(list(gradients.values())).isfinite():
        return  # else squares of finite numbers may have grown too large
    if broken := [name for name, gradient in gradients.items() if not gradient.isfinite().all()]:
        raise NotFinite(f"all losses are finite, but the gradients of {len(broken)} weights are not, "
                        f"{', '.join(broken[:3])} among them", losses)
