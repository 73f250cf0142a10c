"""Replicas of networks on the device slots of one process.

The primary of a network is on slot 0; the optimizer updates only the primary. Around each step:
`broadcast_parameters` copies the primary's tensors to the replicas, forward and backward passes run
on the replicas, `reduce_gradients` adds their gradients to the primary's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from util.distributed.devices import DeviceSlot

ReplicasBySlot = Mapping[int, nn.Module]  # slot index -> replica; at index 0 the primary itself


def get_module_device(network: nn.Module) -> torch.device:
    """Return the device of a network's parameters."""
    return next(network.parameters()).device


def split_evenly(count: int, n_chunks: int) -> list[tuple[int, int]]:
    """Split range(count) into consecutive chunks and return their (start, stop).

    There are at most `n_chunks` chunks. None is empty, and their lengths differ by at most 1.
    """
    n_chunks = min(count, n_chunks)
    return [(count * i // n_chunks, count * (i + 1) // n_chunks) for i in range(n_chunks)]


@dataclass(frozen=True)
class ReplicatedNetworks:
    """Networks with replicas on the slots that use them.

    Attributes:
        primaries: Network name -> network on slot 0, whose parameters the optimizers update.
        replicas: Network name -> replicas on all slots that run the network. The primary is among
            them (at slot 0) only if slot 0 runs the network.
    """

    primaries: Mapping[str, nn.Module]
    replicas: Mapping[str, ReplicasBySlot]

    @staticmethod
    def create(
        primaries: Mapping[str, nn.Module], slots: Mapping[str, Iterable[DeviceSlot]]
    ) -> ReplicatedNetworks:
        """Copy each network to its slots.

        Args:
            primaries: Network name -> network on the device of slot 0.
            slots: Network name -> slots that run the network.
        """
        replicas = {}
        for name, primary in primaries.items():
            replicas[name] = {
                slot.index: primary if slot.index == 0 else deepcopy(primary).to(slot.device)
                for slot in slots[name]
            }
        return ReplicatedNetworks(primaries, replicas)

    def parameters(self, name: str) -> list[nn.Parameter]:
        """Return the parameters of a network's primary and of all its replicas."""
        networks = [self.primaries[name], *self._copies(name)]
        return [parameter for network in networks for parameter in network.parameters()]

    @torch.no_grad()
    def broadcast_parameters(self) -> None:
        """Copy trainable parameters and buffers from each primary to its replicas."""
        for name, primary in self.primaries.items():
            for replica in self._copies(name):
                pairs = zip(_mutable_tensors(replica), _mutable_tensors(primary), strict=True)
                for target, source in pairs:
                    target.copy_(source, non_blocking=True)

    @torch.no_grad()
    def reduce_gradients(self, names: Iterable[str]) -> None:
        """Add the replicas' gradients to the primaries' in order of slots, and clear the replicas'.

        A parameter without a gradient on any slot keeps the gradient None.
        """
        for name in names:
            for replica in self._copies(name):
                _move_gradients(replica, self.primaries[name])

    @torch.no_grad()
    def sync_buffers(self) -> None:
        """Copy the first replica's buffers to each primary whose slot does not run the network.

        Each replica updates its buffers (running statistics, singular vectors of spectral norm)
        separately. The primary's are used if slot 0 runs the network, else the first replica's.
        """
        for name, primary in self.primaries.items():
            if 0 in self.replicas[name]:
                continue
            first_replica = self._copies(name)[0]
            for target, source in zip(primary.buffers(), first_replica.buffers(), strict=True):
                target.copy_(source)

    def _copies(self, name: str) -> list[nn.Module]:
        """Return the replicas other than the primary, in order of slots."""
        return [replica for slot, replica in self.replicas[name].items() if slot != 0]


def _mutable_tensors(network: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that a training step changes; frozen parameters never change."""
    for parameter in network.parameters():
        if parameter.requires_grad:
            yield parameter
    yield from network.buffers()


def _move_gradients(source: nn.Module, target: nn.Module) -> None:
    """Add the gradients of `source` to those of `target`, and set those of `source` to None."""
    for parameter, other in zip(target.parameters(), source.parameters(), strict=True):
        if other.grad is None:
            continue
        gradient = other.grad.to(parameter.device)
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        other.grad = None
