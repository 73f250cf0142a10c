"""Work is shared between processes wholly, once, and evenly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from util.placement.processes import BUCKET, Processes, balanced, buckets


def test_torchruns_environment_tells_who_this_is() -> None:
    here = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert Processes.of(here) == Processes(3, 4, 1, 2)
    assert Processes.of({"RANK": "3"}) == Processes() and Processes().leads and not Processes.of(here).leads


@pytest.mark.parametrize(("items", "shares"), [(0, 2), (1, 3), (7, 3), (8, 4)])
def test_equal_runs_in_order(items: int, shares: int) -> None:
    parts = [Processes(rank, shares).share(list(range(items))) for rank in range(shares)]
    assert sum(parts, []) == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shares", [1, 2, 3, 8])
def test_every_item_goes_to_one_and_no_share_is_heavier_by_more_than_an_item(shares: int) -> None:
    loads = np.random.default_rng(0).integers(1, 100, 20).tolist()
    dealt = balanced(loads, shares)
    assert sorted(sum(dealt, [])) == list(range(20)) and all(share == sorted(share) for share in dealt)
    sums = [sum(loads[number] for number in share) for share in dealt]
    assert max(sums) - min(sums) <= max(loads)
    assert [Processes(rank, shares).share_by_load(range(20), loads) for rank in range(shares)] == dealt


def test_the_longest_sequence_has_a_process_to_itself() -> None:
    assert balanced([10, 50, 20, 10, 10], 2) == [[1], [0, 2, 3, 4]]


def test_messages_are_full_but_not_too_large() -> None:
    tensors = [torch.empty(count, device="meta") for count in (BUCKET // 2, BUCKET // 2, 1, 2 * BUCKET, 3)]
    assert [[len(tensor) for tensor in bucket] for bucket in buckets(tensors)] == [
        [BUCKET // 2, BUCKET // 2], [1], [2 * BUCKET], [3]]


def test_alone_there_is_nobody_to_ask() -> None:
    one, tensor = Processes(), torch.ones(3)
    one.average([tensor])
    assert tensor.tolist() == [1, 1, 1] and one.gathered("a") == ["a"] and one.merged({"a": 1}) == {"a": 1}
    assert one.anywhere(True, tensor.device) and not one.anywhere(False, tensor.device)
