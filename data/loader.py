"""Batch clips and read them ahead in worker processes; crashes and stalls name the file being read."""

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

STATUS_BYTES = 1024  # per worker, for the files that it is reading
STALL_TIMEOUT = 60.0  # seconds without a clip until a warning is printed


@dataclass(frozen=True)
class WorkerStatus:
    """What each worker process is reading, in shared memory that outlives the worker.

    Attributes:
        slots: one zero-terminated string per worker, `PID FILES`.
    """

    slots: tuple[ctypes.Array[ctypes.c_char], ...]

    @staticmethod
    def create(num_workers: int, multiprocessing_context: str | None = None) -> WorkerStatus:
        """Allocate the shared memory; one slot if the training process itself loads."""
        context = multiprocessing.get_context(multiprocessing_context)
        n_slots = max(1, num_workers)
        return WorkerStatus(
            tuple(context.RawArray(ctypes.c_char, STATUS_BYTES) for _ in range(n_slots))
        )

    def update(self, text: str) -> None:
        """Set the status of the calling process."""
        worker = get_worker_info()
        slot = self.slots[worker.id if worker else 0]
        slot.value = f"{os.getpid()} {text}".encode()[: STATUS_BYTES - 1]

    def read_all(self) -> dict[int, str]:
        """Return the status of each process that has set one, by process id."""
        entries = [slot.value.decode(errors="replace") for slot in self.slots]
        fields = [entry.split(" ", maxsplit=1) for entry in entries if " " in entry]
        return {int(pid): text for pid, text in fields}

    @contextmanager
    def report_worker_crash(self) -> Iterator[None]:
        """Turn PyTorch's "DataLoader worker exited" error into a UserError that names the files.

        PyTorch raises that error from a signal handler, so at any point of the training process.
        """
        try:
            yield
        except RuntimeError as error:
            if "DataLoader worker (pid" not in str(error):
                raise
            texts = [text for pid, text in self.read_all().items() if str(pid) in str(error)]
            message = " ".join(str(error).split()).rstrip(".")
            raise UserError(
                f"{message}; it was loading {'; '.join(texts) or 'nothing yet'}: if memory ran out, give "
                "fewer --nThreads, or 0 to load in the training process; resume with --continue_train"
            ) from error

    @contextmanager
    def warn_on_stall(self, seconds: float) -> Iterator[None]:
        """Print one warning to stderr, with the files being read, if the block takes longer."""

        def print_warning() -> None:
            texts = [f"process {pid}: {text}" for pid, text in self.read_all().items()]
            print(
                f"\nno clip for {seconds:g} s; being loaded: {'; '.join(texts) or 'nothing yet'}",
                file=sys.stderr,
                flush=True,
            )

        timer = Timer(seconds, print_warning)
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
    """Yield the clips of `batches`, in order, read ahead by worker processes.

    Args:
        dataset: reads a clip from its plan.
        batches: plans of the clips of each batch. May be infinite; consumed on demand.
        num_workers: number of worker processes, which live until the last batch; 0: load in this
            process.
        pin_memory: whether to copy batches to page-locked memory, for a CUDA device.
        multiprocessing_context: how workers start (`fork`, `spawn`, `forkserver`; None: Python's
            default).
        worker_status: where workers record the files that they read; None: a new one.
        stall_timeout: seconds without a clip until a warning is printed.

    Raises:
        UserError: a frame cannot be read, or the clips of a batch differ in size.
    """
    worker_status = worker_status or WorkerStatus.create(num_workers, multiprocessing_context)
    loader: DataLoader[Clip | UserError] = DataLoader(
        _ErrorAsValueDataset(dataset, worker_status),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        multiprocessing_context=multiprocessing_context if num_workers else None,
        # The loader draws a base seed. From the global generator, this would change the training's
        # random numbers.
        generator=torch.Generator(),
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
    """Returns a UserError instead of raising it.

    PyTorch wraps an exception raised in a worker in the text of its traceback.
    """

    dataset: ClipDataset
    worker_status: WorkerStatus

    def __getitem__(self, plan: ClipPlan) -> Clip | UserError:
        self.worker_status.update(self.dataset.describe_files(plan))
        try:
            return self.dataset[plan]
        except UserError as error:
            return error


def _collate(items: list[Clip | UserError]) -> Clip | UserError:
    for item in items:
        if isinstance(item, UserError):
            return item
    clips = [item for item in items if isinstance(item, Clip)]
    first = clips[0]
    for clip in clips:
        if _format_size(clip) != _format_size(first):
            return UserError(
                f"one batch holds {first.names[0][0]} of {_format_size(first)} and {clip.names[0][0]} of "
                f"{_format_size(clip)}: use --batchSize 1, or a --resize_or_crop that makes them equal"
            )
    return Clip.stack(clips)


def _format_size(clip: Clip) -> str:
    return f"{clip.condition.shape[-1]}x{clip.condition.shape[-2]}"
