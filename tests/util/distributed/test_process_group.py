"""Work is shared between processes wholly, once, and evenly."""

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
    here = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert ProcessGroup.from_environment(here) == ProcessGroup(3, 4, 1, 2)
    assert (
        ProcessGroup.from_environment({"RANK": "3"}) == ProcessGroup()
        and ProcessGroup().is_main_process
        and not ProcessGroup.from_environment(here).is_main_process
    )


@pytest.mark.parametrize(("items", "shares"), [(0, 2), (1, 3), (7, 3), (8, 4)])
def test_even_chunks_keep_the_order(items: int, shares: int) -> None:
    parts = [ProcessGroup(rank, shares).shard(list(range(items))) for rank in range(shares)]
    assert sum(parts, []) == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shares", [1, 2, 3, 8])
def test_every_item_has_one_shard_and_loads_differ_by_at_most_one_item(shares: int) -> None:
    loads = np.random.default_rng(0).integers(1, 100, 20).tolist()
    dealt = balance_by_load(loads, shares)
    assert sorted(sum(dealt, [])) == list(range(20)) and all(
        share == sorted(share) for share in dealt
    )
    sums = [sum(loads[number] for number in share) for share in dealt]
    assert max(sums) - min(sums) <= max(loads)
    assert [
        ProcessGroup(rank, shares).shard_by_load(range(20), loads) for rank in range(shares)
    ] == dealt


def test_longest_sequence_has_its_own_rank() -> None:
    assert balance_by_load([10, 50, 20, 10, 10], 2) == [[1], [0, 2, 3, 4]]


def test_buckets_are_full_and_bounded() -> None:
    tensors = [
        torch.empty(count, device="meta")
        for count in (BUCKET_NUMEL // 2, BUCKET_NUMEL // 2, 1, 2 * BUCKET_NUMEL, 3)
    ]
    assert [[len(tensor) for tensor in bucket] for bucket in split_into_buckets(tensors)] == [
        [BUCKET_NUMEL // 2, BUCKET_NUMEL // 2],
        [1],
        [2 * BUCKET_NUMEL],
        [3],
    ]


def test_single_process_needs_no_communication() -> None:
    one, tensor = ProcessGroup(), torch.ones(3)
    one.all_reduce_mean([tensor])
    assert (
        tensor.tolist() == [1, 1, 1]
        and one.all_gather("a") == ["a"]
        and one.all_gather_dict({"a": 1}) == {"a": 1}
    )
    assert one.any_rank(True, tensor.device) and not one.any_rank(False, tensor.device)
