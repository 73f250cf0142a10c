"""Copies of networks on other slots: weights go out once a step, gradients come home before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from util.placement.devices import Slot

Working = Mapping[int, nn.Module]  # slot number -> the network that works there; at 0 it is the master itself


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _changing(network: nn.Module) -> Iterator[Tensor]:
    """What a step changes: frozen networks have nothing."""
    yield from (weight for weight in network.parameters() if weight.requires_grad)
    yield from network.buffers()


def equal_runs(count: int, shares: int) -> list[tuple[int, int]]:
    """(start, stop) of at most `shares` runs that make up 0..count-1, none empty, their lengths at most 1 apart."""
    shares = min(count, shares)
    return [(count * i // shares, count * (i + 1) // shares) for i in range(shares)]


@dataclass(frozen=True)
class Replicas:
    """masters: networks by name, on slot 0. working: of each name, who does its work; the master need not."""

    masters: Mapping[str, nn.Module]
    working: Mapping[str, Working]

    @staticmethod
    def make(masters: Mapping[str, nn.Module], slots: Mapping[str, Iterable[Slot]]) -> Replicas:
        """slots: where each network is needed."""
        def made(master: nn.Module, slot: Slot) -> nn.Module:
            return deepcopy(master).to(slot.device) if slot.number else master

        return Replicas(masters, {name: {slot.number: made(master, slot) for slot in slots[name]}
                                  for name, master in masters.items()})

    def copies(self, name: str) -> list[nn.Module]:
        return [network for number, network in self.working[name].items() if number]

    def weights(self, name: str) -> list[nn.Parameter]:
        """Of the master and of all its copies."""
        return [weight for network in (self.masters[name], *self.copies(name)) for weight in network.parameters()]

    @torch.no_grad()
    def send_out(self) -> None:
        """What the last step changed, from the masters to all copies."""
        for name, master in self.masters.items():
            for copy in self.copies(name):
                for target, source in zip(_changing(copy), _changing(master), strict=True):
                    target.copy_(source, non_blocking=True)

    @torch.no_grad()
    def bring_home(self, names: Iterable[str]) -> None:
        """The copies' gradients are added to the masters', and theirs forgotten."""
        pairs = ((name, copy) for name in names for copy in self.copies(name))
        for name, copy in pairs:
            for weight, other in zip(self.masters[name].parameters(), copy.parameters(), strict=True):
                if other.grad is not None:
                    gradient = other.grad.to(weight.device)
                    weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
                    other.grad = None

    @torch.no_grad()
    def keep_statistics(self) -> None:
        """Where the master itself does not work, its buffers (running statistics, singular vectors) are those of its
        first copy: every slot has its own, and one must stand for all."""
        for name, master in self.masters.items():
            if 0 not in self.working[name]:
                for target, source in zip(master.buffers(), self.copies(name)[0].buffers(), strict=True):
                    target.copy_(source)
