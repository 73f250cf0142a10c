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

BUCKET = 2**23  # numbers that travel as one message: small ones cost latency, the largest would cost memory

Item = TypeVar("Item")


@contextmanager
def noticing_the_dead() -> Iterator[None]:
    try:
        yield
    except RuntimeError as fault:  # what every backend raises when a connection breaks
        reason = str(fault).strip().splitlines()[0]
        raise UserError(f"rank {dist.get_rank()} stops: another process of this run has ended or cannot be reached "
                        f"({reason}): its own last lines say why; training goes on from the last save with "
                        "--continue_train") from None


def buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """In order, at most BUCKET numbers together unless one alone has more."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def balanced(loads: Sequence[int], shares: int) -> list[list[int]]:
    """The numbers 0..n-1 dealt out, in order within each share: the heaviest first, each to whom has least so far."""
    dealt: list[list[int]] = [[] for _ in range(shares)]
    carried = [0] * shares
    for number in sorted(range(len(loads)), key=lambda n: -loads[n]):
        least = carried.index(min(carried))
        dealt[least].append(number)
        carried[least] += loads[number]
    return [sorted(share) for share in dealt]


@dataclass(frozen=True)
class Processes:
    """rank: of this one among all `count`; local: among those of its machine. One process alone needs no messages."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @staticmethod
    def of(environment: Mapping[str, str]) -> Processes:
        """As torchrun describes them there."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if not all(name in environment for name in names):
            return Processes()
        return Processes(*(int(environment[name]) for name in names))

    def join(self, device: torch.device, patience: timedelta) -> None:
        """Meets the others; NCCL between GPUs, gloo between CPUs. patience: with one that answers but is slow; a dead
        one is noticed at once."""
        if self.count == 1:
            return
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.set_device(device)
        with noticing_the_dead():
            dist.init_process_group("nccl" if cuda else "gloo", timeout=patience)

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, items: list[Item]) -> list[Item]:
        """This process's part: an equal run where they divide, the first ones one more each where they do not."""
        each, rest = divmod(len(items), self.count)
        start = self.rank * each + min(self.rank, rest)
        return items[start:start + each + (self.rank < rest)]

    def share_by_load(self, items: Sequence[Item], loads: Sequence[int]) -> list[Item]:
        """This process's part of items that are not equally much work, in order."""
        return [items[number] for number in balanced(loads, self.count)[self.rank]]

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """In place, over all processes, who must all ask for as many numbers."""
        if self.count == 1:
            return
        sent = []
        with noticing_the_dead():
            for bucket in buckets(tensors):
                flat = torch.cat([tensor.flatten() for tensor in bucket])
                sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
            for bucket, flat, message in sent:
                message.wait()
                parts = (flat / self.count).split([tensor.numel() for tensor in bucket])
                for tensor, part in zip(bucket, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def average_gradients(self, networks: Sequence[nn.Module]) -> None:
        """A weight without a gradient here may have one elsewhere."""
        if self.count == 1:
            return
        weights = [weight for network in networks for weight in network.parameters() if weight.requires_grad]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.average([weight.grad for weight in weights if weight.grad is not None])

    def anywhere(self, here: bool, device: torch.device) -> bool:
        """Whether it is so in any process."""
        if self.count == 1:
            return here
        flag = torch.tensor([float(here)], device=device)
        self.average([flag])
        return flag.item() > 0

    def gathered(self, here: Item) -> list[Item]:
        """What each process has, by rank."""
        if self.count == 1:
            return [here]
        found: list[Item] = [here] * self.count
        with noticing_the_dead():
            dist.all_gather_object(found, here)
        return found

    def merged(self, here: Mapping[str, Item]) -> dict[str, Item]:
        """The entries that all processes have, by their names."""
        return {name: item for part in self.gathered(here) for name, item in part.items()}
