"""Tests of util/distributed/process_group.py that need a single process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from util.distributed.process_group import (
    BUCKET_NUMEL,
    ProcessGroup,
    balance_by_load,
    split_into_buckets,
)


def test_rank_is_read_from_the_torchrun_environment() -> None:
    environment = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    process_group = ProcessGroup.from_environment(environment)
    assert process_group == ProcessGroup(3, 4, 1, 2)
    assert not process_group.is_main_process
    assert ProcessGroup.from_environment({"RANK": "3"}) == ProcessGroup()
    assert ProcessGroup().is_main_process


@pytest.mark.parametrize(("n_items", "world_size"), [(0, 2), (1, 3), (7, 3), (8, 4)])
def test_even_chunks_keep_the_order(n_items: int, world_size: int) -> None:
    items = list(range(n_items))
    shards = [ProcessGroup(rank, world_size).shard(items) for rank in range(world_size)]
    assert sum(shards, []) == items
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("n_shards", [1, 2, 3, 8])
def test_every_item_has_one_shard_and_loads_differ_by_at_most_one_item(n_shards: int) -> None:
    loads = np.random.default_rng(0).integers(1, 100, 20).tolist()
    shards = balance_by_load(loads, n_shards)
    assert sorted(sum(shards, [])) == list(range(20))
    assert all(shard == sorted(shard) for shard in shards)
    sums = [sum(loads[index] for index in shard) for shard in shards]
    assert max(sums) - min(sums) <= max(loads)
    for rank in range(n_shards):
        assert ProcessGroup(rank, n_shards).shard_by_load(range(20), loads) == shards[rank]


def test_longest_sequence_has_its_own_rank() -> None:
    assert balance_by_load([10, 50, 20, 10, 10], 2) == [[1], [0, 2, 3, 4]]


def test_buckets_are_full_and_bounded() -> None:
    half = BUCKET_NUMEL // 2
    sizes = [half, half, 1, 2 * BUCKET_NUMEL, 3]
    tensors = [torch.empty(size, device="meta") for size in sizes]
    buckets = [[len(tensor) for tensor in bucket] for bucket in split_into_buckets(tensors)]
    assert buckets == [[half, half], [1], [2 * BUCKET_NUMEL], [3]]


def test_single_process_needs_no_communication() -> None:
    process_group, tensor = ProcessGroup(), torch.ones(3)
    process_group.all_reduce_mean([tensor])
    assert tensor.tolist() == [1, 1, 1]
    assert process_group.all_gather("a") == ["a"]
    assert process_group.all_gather_dict({"a": 1}) == {"a": 1}
    assert process_group.any_rank(True, tensor.device)
    assert not process_group.any_rank(False, tensor.device)
