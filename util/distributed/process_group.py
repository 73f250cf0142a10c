"""Several processes that train together, as `torchrun` starts them; each has its own groups and its share of clips."""

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

BUCKET_NUMEL = (
    2**23
)  # numbers that travel as one message: small ones cost latency, the largest would cost memory

_Item = TypeVar("_Item")


@contextmanager
def explain_lost_rank() -> Iterator[None]:
    try:
        yield
    except RuntimeError as fault:  # what every backend raises when a connection breaks
        reason = str(fault).strip().splitlines()[0]
        raise UserError(
            f"rank {dist.get_rank()} stops: another process of this run has ended or cannot be reached "
            f"({reason}): its own last lines say why; training goes on from the last save with "
            "--continue_train"
        ) from None


def split_into_buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """In order, at most BUCKET numbers together unless one alone has more."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET_NUMEL:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def balance_by_load(loads: Sequence[int], n_shards: int) -> list[list[int]]:
    """The numbers 0..n-1 dealt out, in order within each share: the heaviest first, each to whom has least so far."""
    dealt: list[list[int]] = [[] for _ in range(n_shards)]
    carried = [0] * n_shards
    for number in sorted(range(len(loads)), key=lambda n: -loads[n]):
        least = carried.index(min(carried))
        dealt[least].append(number)
        carried[least] += loads[number]
    return [sorted(share) for share in dealt]


@dataclass(frozen=True)
class ProcessGroup:
    """rank: of this one among all `count`; local: among those of its machine. One process alone needs no messages."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> ProcessGroup:
        """As torchrun describes them there."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if not all(name in environment for name in names):
            return ProcessGroup()
        return ProcessGroup(*(int(environment[name]) for name in names))

    def init_process_group(self, device: torch.device, timeout: timedelta) -> None:
        """Meets the others; NCCL between GPUs, gloo between CPUs. patience: with one that answers but is slow; a dead
        one is noticed at once."""
        if self.world_size == 1:
            return
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.set_device(device)
        with explain_lost_rank():
            dist.init_process_group("nccl" if cuda else "gloo", timeout=timeout)

    @property
    def is_main_process(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def shard(self, items: list[_Item]) -> list[_Item]:
        """This process's part: an equal run where they divide, the first ones one more each where they do not."""
        each, rest = divmod(len(items), self.world_size)
        start = self.rank * each + min(self.rank, rest)
        return items[start : start + each + (self.rank < rest)]

    def shard_by_load(self, items: Sequence[_Item], loads: Sequence[int]) -> list[_Item]:
        """This process's part of items that are not equally much work, in order."""
        return [items[number] for number in balance_by_load(loads, self.world_size)[self.rank]]

    @torch.no_grad()
    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        """In place, over all processes, who must all ask for as many numbers."""
        if self.world_size == 1:
            return
        sent = []
        with explain_lost_rank():
            for bucket in split_into_buckets(tensors):
                flat = torch.cat([tensor.flatten() for tensor in bucket])
                sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
            for bucket, flat, message in sent:
                message.wait()
                parts = (flat / self.world_size).split([tensor.numel() for tensor in bucket])
                for tensor, part in zip(bucket, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def all_reduce_gradients(self, networks: Sequence[nn.Module]) -> None:
        """A weight without a gradient here may have one elsewhere."""
        if self.world_size == 1:
            return
        weights = [
            weight
            for network in networks
            for weight in network.parameters()
            if weight.requires_grad
        ]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.all_reduce_mean([weight.grad for weight in weights if weight.grad is not None])

    def any_rank(self, value: bool, device: torch.device) -> bool:
        """Whether it is so in any process."""
        if self.world_size == 1:
            return value
        flag = torch.tensor([float(value)], device=device)
        self.all_reduce_mean([flag])
        return flag.item() > 0

    def all_gather(self, item: _Item) -> list[_Item]:
        """What each process has, by rank."""
        if self.world_size == 1:
            return [item]
        found: list[_Item] = [item] * self.world_size
        with explain_lost_rank():
            dist.all_gather_object(found, item)
        return found

    def all_gather_dict(self, items: Mapping[str, _Item]) -> dict[str, _Item]:
        """The entries that all processes have, by their names."""
        return {name: item for part in self.all_gather(items) for name, item in part.items()}
