"""Communication between the processes of a run started with torchrun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from util.errors import UserError

# Elements per all-reduce: many small messages cost latency, one large message costs memory.
BUCKET_NUMEL = 2**23

_Item = TypeVar("_Item")


@contextmanager
def explain_lost_rank() -> Iterator[None]:
    """Raise a UserError when a collective operation inside fails."""
    try:
        yield
    except RuntimeError as error:  # raised by every backend when a connection breaks
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"rank {dist.get_rank()} stops: another process of this run has ended or cannot be "
            f"reached ({reason}): see the last lines of its output; resume from the last "
            "checkpoint with --continue_train"
        ) from None


def split_into_buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield consecutive tensors in buckets of at most BUCKET_NUMEL elements.

    A larger tensor is alone in its bucket.
    """
    bucket: list[Tensor] = []
    bucket_numel = 0
    for tensor in tensors:
        if bucket and bucket_numel + tensor.numel() > BUCKET_NUMEL:
            yield bucket
            bucket, bucket_numel = [], 0
        bucket.append(tensor)
        bucket_numel += tensor.numel()
    if bucket:
        yield bucket


def balance_by_load(loads: Sequence[int], n_shards: int) -> list[list[int]]:
    """Assign the indices of `loads` to shards of nearly equal load.

    Greedy: the largest load first, each to the shard with the smallest sum so far. The indices of
    each shard are in increasing order.
    """
    shards: list[list[int]] = [[] for _ in range(n_shards)]
    sums = [0] * n_shards
    for index in sorted(range(len(loads)), key=lambda i: -loads[i]):
        smallest = sums.index(min(sums))
        shards[smallest].append(index)
        sums[smallest] += loads[index]
    return [sorted(shard) for shard in shards]


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run. A single process does not communicate.

    Collective methods must be called by all processes in the same order.

    Attributes:
        rank: Rank of this process, 0 to world_size - 1.
        world_size: Number of processes.
        local_rank: Rank of this process on its machine.
        local_world_size: Number of processes on its machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> ProcessGroup:
        """Read torchrun's environment variables; without them, return a single process."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if not all(name in environment for name in names):
            return ProcessGroup()
        return ProcessGroup(*(int(environment[name]) for name in names))

    def init_process_group(self, device: torch.device, timeout: timedelta) -> None:
        """Connect to the other processes, with NCCL on GPUs and gloo on CPUs.

        Args:
            device: Device of this process.
            timeout: How long to wait for a process that is alive but slow. A process that has
                ended is detected at once.
        """
        if self.world_size == 1:
            return
        uses_cuda = device.type == "cuda"
        if uses_cuda:
            torch.cuda.set_device(device)
        with explain_lost_rank():
            dist.init_process_group("nccl" if uses_cuda else "gloo", timeout=timeout)

    @property
    def is_main_process(self) -> bool:
        """Whether this is rank 0, which writes the files."""
        return self.rank == 0

    def shard(self, items: list[_Item]) -> list[_Item]:
        """Return this rank's consecutive part of the items; lower ranks get one more if uneven."""
        size, remainder = divmod(len(items), self.world_size)
        start = self.rank * size + min(self.rank, remainder)
        stop = start + size + (self.rank < remainder)
        return items[start:stop]

    def shard_by_load(self, items: Sequence[_Item], loads: Sequence[int]) -> list[_Item]:
        """Return this rank's part of items whose loads differ, in order (see `balance_by_load`)."""
        indices = balance_by_load(loads, self.world_size)[self.rank]
        return [items[index] for index in indices]

    @torch.no_grad()
    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all processes; shapes agree between processes.

        Sums are computed on the tensors' device in buckets, which are all sent before the first
        result is awaited.
        """
        if self.world_size == 1:
            return
        pending = []
        with explain_lost_rank():
            for bucket in split_into_buckets(tensors):
                flat = torch.cat([tensor.flatten() for tensor in bucket])
                pending.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
            for bucket, flat, work in pending:
                work.wait()
                means = (flat / self.world_size).split([tensor.numel() for tensor in bucket])
                for tensor, mean in zip(bucket, means, strict=True):
                    tensor.copy_(mean.view_as(tensor))

    def all_reduce_gradients(self, networks: Sequence[nn.Module]) -> None:
        """Replace the gradients of trainable parameters by their means over all processes.

        A parameter without a gradient counts as zero: other processes may have one.
        """
        if self.world_size == 1:
            return
        gradients = []
        for network in networks:
            for parameter in network.parameters():
                if not parameter.requires_grad:
                    continue
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        self.all_reduce_mean(gradients)

    def any_rank(self, value: bool, device: torch.device) -> bool:
        """Return whether the value is true in any process."""
        if self.world_size == 1:
            return value
        flag = torch.tensor([float(value)], device=device)
        self.all_reduce_mean([flag])
        return flag.item() > 0

    def all_gather(self, item: _Item) -> list[_Item]:
        """Return the items of all processes, by rank."""
        if self.world_size == 1:
            return [item]
        items: list[_Item] = [item] * self.world_size
        with explain_lost_rank():
            dist.all_gather_object(items, item)
        return items

    def all_gather_dict(self, items: Mapping[str, _Item]) -> dict[str, _Item]:
        """Return the union of the dicts of all processes; equal keys keep the highest rank's item."""
        merged: dict[str, _Item] = {}
        for rank_items in self.all_gather(items):
            merged.update(rank_items)
        return merged
