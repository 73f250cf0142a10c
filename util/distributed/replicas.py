"""Copies of networks on other slots: weights go out once a step, gradients come home before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from util.distributed.devices import DeviceSlot

ReplicasBySlot = Mapping[
    int, nn.Module
]  # slot number -> the network that works there; at 0 it is the master itself


def get_module_device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _mutable_tensors(network: nn.Module) -> Iterator[Tensor]:
    """What a step changes: frozen networks have nothing."""
    yield from (weight for weight in network.parameters() if weight.requires_grad)
    yield from network.buffers()


def split_evenly(count: int, n_chunks: int) -> list[tuple[int, int]]:
    """(start, stop) of at most `shares` runs that make up 0..count-1, none empty, their lengths at most 1 apart."""
    n_chunks = min(count, n_chunks)
    return [(count * i // n_chunks, count * (i + 1) // n_chunks) for i in range(n_chunks)]


@dataclass(frozen=True)
class ReplicatedNetworks:
    """masters: networks by name, on slot 0. working: of each name, who does its work; the master need not."""

    primaries: Mapping[str, nn.Module]
    replicas: Mapping[str, ReplicasBySlot]

    @staticmethod
    def create(
        primaries: Mapping[str, nn.Module], slots: Mapping[str, Iterable[DeviceSlot]]
    ) -> ReplicatedNetworks:
        """slots: where each network is needed."""

        def made(master: nn.Module, slot: DeviceSlot) -> nn.Module:
            return deepcopy(master).to(slot.device) if slot.index else master

        return ReplicatedNetworks(
            primaries,
            {
                name: {slot.index: made(master, slot) for slot in slots[name]}
                for name, master in primaries.items()
            },
        )

    def copies(self, name: str) -> list[nn.Module]:
        return [network for number, network in self.replicas[name].items() if number]

    def parameters(self, name: str) -> list[nn.Parameter]:
        """Of the master and of all its copies."""
        return [
            weight
            for network in (self.primaries[name], *self.copies(name))
            for weight in network.parameters()
        ]

    @torch.no_grad()
    def broadcast_parameters(self) -> None:
        """What the last step changed, from the masters to all copies."""
        for name, master in self.primaries.items():
            for copy in self.copies(name):
                for target, source in zip(
                    _mutable_tensors(copy), _mutable_tensors(master), strict=True
                ):
                    target.copy_(source, non_blocking=True)

    @torch.no_grad()
    def reduce_gradients(self, names: Iterable[str]) -> None:
        """The copies' gradients are added to the masters', and theirs forgotten."""
        pairs = ((name, copy) for name in names for copy in self.copies(name))
        for name, copy in pairs:
            for weight, other in zip(
                self.primaries[name].parameters(), copy.parameters(), strict=True
            ):
                if other.grad is not None:
                    gradient = other.grad.to(weight.device)
                    weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
                    other.grad = None

    @torch.no_grad()
    def sync_buffers(self) -> None:
        """Where the master itself does not work, its buffers (running statistics, singular vectors) are those of its
        first copy: every slot has its own, and one must stand for all."""
        for name, master in self.primaries.items():
            if 0 not in self.replicas[name]:
                for target, source in zip(
                    master.buffers(), self.copies(name)[0].buffers(), strict=True
                ):
                    target.copy_(source)
