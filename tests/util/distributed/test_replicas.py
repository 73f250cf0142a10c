"""Tests of util/distributed/replicas.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from util.distributed import DeviceSlot
from util.distributed.replicas import ReplicatedNetworks, split_evenly

CPU = torch.device("cpu")


def replicate(network: nn.Module, *slot_indices: int) -> ReplicatedNetworks:
    slots = [DeviceSlot(index, CPU) for index in slot_indices]
    return ReplicatedNetworks.create({"G": network}, {"G": slots})


@pytest.mark.parametrize(
    ("count", "n_chunks", "chunks"),
    [
        (3, 2, [(0, 1), (1, 3)]),
        (7, 3, [(0, 2), (2, 4), (4, 7)]),
        (2, 5, [(0, 1), (1, 2)]),
        (0, 2, []),
    ],
)
def test_chunks_are_even_and_not_empty(count: int, n_chunks: int, chunks: list) -> None:
    assert split_evenly(count, n_chunks) == chunks


def test_primary_is_its_own_replica_on_slot_0() -> None:
    primary = nn.Linear(2, 1)
    replicas = replicate(primary, 0, 2).replicas["G"]
    assert list(replicas) == [0, 2] and replicas[0] is primary and replicas[2] is not primary


def test_broadcast_copies_trainable_parameters_and_buffers() -> None:
    primary = nn.BatchNorm1d(2)
    primary.bias.requires_grad_(False)
    replicated = replicate(primary, 0, 1)
    for tensor in (primary.weight, primary.bias, primary.running_mean):
        tensor.data.fill_(5)
    replicated.broadcast_parameters()
    replica = replicated.replicas["G"][1]
    assert replica.weight.tolist() == replica.running_mean.tolist() == [5, 5]
    assert replica.bias.tolist() == [0, 0]  # frozen


def test_gradients_are_added_to_the_primary_and_cleared() -> None:
    primary = nn.Linear(1, 1)
    replicated = replicate(primary, 0, 1, 2)
    for index, replica in replicated.replicas["G"].items():
        replica.weight.grad = torch.full((1, 1), 10.0**index)
    replicated.reduce_gradients(["G"])
    assert primary.weight.grad.item() == 111 and primary.bias.grad is None
    copies = [replicated.replicas["G"][index] for index in (1, 2)]
    assert all(parameter.grad is None for copy in copies for parameter in copy.parameters())


@pytest.mark.parametrize(("slots", "expected"), [((0, 1), 0), ((1, 2), 1)])
def test_buffers_are_the_primarys_or_the_first_replicas(slots: tuple, expected: int) -> None:
    primary = nn.BatchNorm1d(1)
    replicated = replicate(primary, *slots)
    for index, replica in replicated.replicas["G"].items():
        replica.running_mean.fill_(index)
    replicated.sync_buffers()
    assert primary.running_mean.item() == expected
