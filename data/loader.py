"""From clips to batches, read ahead by worker processes that are watched: one that dies or hangs is named."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from data.clips import ClipDataset
from data.sampling import ClipPlan
from util.clip import Clip
from util.errors import UserError
from util.signals import leave_to_parent

SLOT = 1024  # bytes for what a worker is at
PATIENCE = 60.0  # seconds without a clip before people are told


@dataclass(frozen=True)
class Desks:
    """What every worker is at, in memory that outlives it. slots: SLOT bytes each, `pid frames`, ended by a zero."""

    slots: ctypes.Array[ctypes.c_char]

    @staticmethod
    def of(workers: int, context: str | None = None) -> Desks:
        return Desks(multiprocessing.get_context(context).RawArray(ctypes.c_char, SLOT * max(1, workers)))

    def note(self, text: str) -> None:
        """By a worker, of itself; by the training process where there are none."""
        worker = get_worker_info()
        start = SLOT * (worker.id if worker else 0)
        entry = f"{os.getpid()} {text}".encode()[:SLOT - 1]
        memoryview(self.slots).cast("B")[start:start + len(entry) + 1] = entry + b"\0"

    def notes(self) -> dict[int, str]:
        """By process id."""
        memory = bytes(self.slots)
        entries = [memory[i:i + SLOT].split(b"\0")[0].decode(errors="replace").split(" ", 1)
                   for i in range(0, len(memory), SLOT)]
        return {int(entry[0]): entry[1] for entry in entries if len(entry) == 2}

    @contextmanager
    def naming_the_dead(self) -> Iterator[None]:
        """torch tells of a worker that died wherever the training process happens to be: as a UserError, what the
        worker was at."""
        try:
            yield
        except RuntimeError as fault:
            if "DataLoader worker (pid" not in str(fault):
                raise
            was_at = [text for pid, text in self.notes().items() if str(pid) in str(fault)]
            words = " ".join(str(fault).split()).rstrip(".")
            raise UserError(f"{words}; it was loading {'; '.join(was_at) or 'nothing yet'}: if memory ran out, give "
                            "fewer --nThreads, or 0 to load in the training process; go on with "
                            "--continue_train") from fault

    @contextmanager
    def telling_of_stalls(self, seconds: float) -> Iterator[None]:
        """Says on stderr, once, what the workers are at when the block takes longer than `seconds`."""
        def tell() -> None:
            at = "; ".join(f"process {pid}: {text}" for pid, text in self.notes().items())
            print(f"\nno clip for {seconds:g} s; being loaded: {at or 'nothing yet'}", file=sys.stderr, flush=True)

        timer = Timer(seconds, tell)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def make_loader(dataset: ClipDataset, batches: Iterable[list[ClipPlan]], workers: int, pin: bool = False,
                context: str | None = None, desks: Desks | None = None, patience: float = PATIENCE) -> Iterator[Clip]:
    """The clips of `batches`, in order, read ahead by `workers` processes that live until the last batch.

    batches: may be endless; taken as they are needed. pin: page-locked memory, for a CUDA device.
    context: how workers start (`fork`, `spawn`, `forkserver`; None: Python's choice).
    desks: where workers note what they are at. patience: seconds until a stall is told of.
    UserError: of a frame that cannot be read, or of clips of unequal size in a batch.
    """
    desks = desks or Desks.of(workers, context)
    own_seeds = torch.Generator()  # else the loader draws from the global one, and workers would change the run
    loader: DataLoader[Clip | UserError] = DataLoader(
        _Reporting(dataset, desks), batch_sampler=batches, num_workers=workers, collate_fn=_collate, pin_memory=pin,
        multiprocessing_context=context if workers else None, generator=own_seeds, worker_init_fn=leave_to_parent)
    clips = iter(loader)
    while True:
        with desks.telling_of_stalls(patience):
            clip = next(clips, None)
        if clip is None:
            return
        if isinstance(clip, UserError):
            raise clip
        yield clip


@dataclass(frozen=True)
class _Reporting(Dataset[Clip | UserError]):
    """The user's faults travel as values: raised in a worker they would arrive wrapped in its traceback."""

    dataset: ClipDataset
    desks: Desks

    def __getitem__(self, plan: ClipPlan) -> Clip | UserError:
        self.desks.note(self.dataset.files(plan))
        try:
            return self.dataset[plan]
        except UserError as fault:
            return fault


def _collate(items: list[Clip | UserError]) -> Clip | UserError:
    for fault in items:
        if isinstance(fault, UserError):
            return fault
    clips = [item for item in items if isinstance(item, Clip)]
    for clip in clips:
        if _size(clip) != _size(clips[0]):
            return UserError(f"one batch holds {clips[0].names[0][0]} of {_size(clips[0])} and {clip.names[0][0]} of "
                             f"{_size(clip)}: use --batchSize 1, or a --resize_or_crop that makes them equal")
    return Clip.stack(clips)


def _size(clip: Clip) -> str:
    return f"{clip.condition.shape[-1]}x{clip.condition.shape[-2]}"
