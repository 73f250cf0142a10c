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

from data.dataset import ClipDataset
from data.sampler import ClipPlan
from util.clip import Clip
from util.errors import UserError
from util.runtime.signals import ignore_signals_in_worker

STATUS_BYTES = 1024  # bytes for what a worker is at
STALL_TIMEOUT = 60.0  # seconds without a clip before people are told


@dataclass(frozen=True)
class WorkerStatus:
    """What every worker is at, in memory that outlives it. slots: SLOT bytes each, `pid frames`, ended by a zero."""

    buffer: ctypes.Array[ctypes.c_char]

    @staticmethod
    def create(num_workers: int, multiprocessing_context: str | None = None) -> WorkerStatus:
        return WorkerStatus(
            multiprocessing.get_context(multiprocessing_context).RawArray(
                ctypes.c_char, STATUS_BYTES * max(1, num_workers)
            )
        )

    def update(self, text: str) -> None:
        """By a worker, of itself; by the training process where there are none."""
        worker = get_worker_info()
        start = STATUS_BYTES * (worker.id if worker else 0)
        entry = f"{os.getpid()} {text}".encode()[: STATUS_BYTES - 1]
        memoryview(self.buffer).cast("B")[start : start + len(entry) + 1] = entry + b"\0"

    def read_all(self) -> dict[int, str]:
        """By process id."""
        memory = bytes(self.buffer)
        entries = [
            memory[i : i + STATUS_BYTES].split(b"\0")[0].decode(errors="replace").split(" ", 1)
            for i in range(0, len(memory), STATUS_BYTES)
        ]
        return {int(entry[0]): entry[1] for entry in entries if len(entry) == 2}

    @contextmanager
    def report_worker_crash(self) -> Iterator[None]:
        """torch tells of a worker that died wherever the training process happens to be: as a UserError, what the
        worker was at."""
        try:
            yield
        except RuntimeError as fault:
            if "DataLoader worker (pid" not in str(fault):
                raise
            was_at = [text for pid, text in self.read_all().items() if str(pid) in str(fault)]
            words = " ".join(str(fault).split()).rstrip(".")
            raise UserError(
                f"{words}; it was loading {'; '.join(was_at) or 'nothing yet'}: if memory ran out, give "
                "fewer --nThreads, or 0 to load in the training process; go on with "
                "--continue_train"
            ) from fault

    @contextmanager
    def warn_on_stall(self, seconds: float) -> Iterator[None]:
        """Says on stderr, once, what the workers are at when the block takes longer than `seconds`."""

        def tell() -> None:
            at = "; ".join(f"process {pid}: {text}" for pid, text in self.read_all().items())
            print(
                f"\nno clip for {seconds:g} s; being loaded: {at or 'nothing yet'}",
                file=sys.stderr,
                flush=True,
            )

        timer = Timer(seconds, tell)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def build_dataloader(
    dataset: ClipDataset,
    batches: Iterable[list[ClipPlan]],
    num_workers: int,
    pin_memory: bool = False,
    multiprocessing_context: str | None = None,
    worker_status: WorkerStatus | None = None,
    stall_timeout: float = STALL_TIMEOUT,
) -> Iterator[Clip]:
    """The clips of `batches`, in order, read ahead by `workers` processes that live until the last batch.

    batches: may be endless; taken as they are needed. pin: page-locked memory, for a CUDA device.
    context: how workers start (`fork`, `spawn`, `forkserver`; None: Python's choice).
    desks: where workers note what they are at. patience: seconds until a stall is told of.
    UserError: of a frame that cannot be read, or of clips of unequal size in a batch.
    """
    worker_status = worker_status or WorkerStatus.create(num_workers, multiprocessing_context)
    own_seeds = (
        torch.Generator()
    )  # else the loader draws from the global one, and workers would change the run
    loader: DataLoader[Clip | UserError] = DataLoader(
        _ErrorAsValueDataset(dataset, worker_status),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        multiprocessing_context=multiprocessing_context if num_workers else None,
        generator=own_seeds,
        worker_init_fn=ignore_signals_in_worker,
    )
    clips = iter(loader)
    while True:
        with worker_status.warn_on_stall(stall_timeout):
            clip = next(clips, None)
        if clip is None:
            return
        if isinstance(clip, UserError):
            raise clip
        yield clip


@dataclass(frozen=True)
class _ErrorAsValueDataset(Dataset[Clip | UserError]):
    """The user's faults travel as values: raised in a worker they would arrive wrapped in its traceback."""

    dataset: ClipDataset
    worker_status: WorkerStatus

    def __getitem__(self, plan: ClipPlan) -> Clip | UserError:
        self.worker_status.update(self.dataset.describe_files(plan))
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
        if _format_size(clip) != _format_size(clips[0]):
            return UserError(
                f"one batch holds {clips[0].names[0][0]} of {_format_size(clips[0])} and {clip.names[0][0]} of "
                f"{_format_size(clip)}: use --batchSize 1, or a --resize_or_crop that makes them equal"
            )
    return Clip.stack(clips)


def _format_size(clip: Clip) -> str:
    return f"{clip.condition.shape[-1]}x{clip.condition.shape[-2]}"
