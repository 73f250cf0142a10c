"""Background threads that read ahead of the main thread or write behind it, in order and bounded.

Each uses a single thread. An exception in that thread is raised in the main thread. When the main
thread leaves early (Ctrl-C included), the running item is completed and queued items are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_QUEUE_DEPTH = 4  # enough to absorb single slow items

_Item = TypeVar("_Item")
SubmitFunction = Callable[..., None]


@contextmanager
def _single_worker(name: str) -> Iterator[ThreadPoolExecutor]:
    """Open a pool of one thread, which runs what is submitted in order."""
    worker = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield worker
    finally:
        worker.shutdown(cancel_futures=True)


def prefetch(items: Iterable[_Item], depth: int = _QUEUE_DEPTH) -> Iterator[_Item]:
    """Yield the items in order, computed by a thread that is at most `depth` items ahead."""
    iterator = iter(items)
    end = object()
    with _single_worker("prefetch") as worker:
        pending = deque(worker.submit(next, iterator, end) for _ in range(depth))
        while True:
            item = pending.popleft().result()
            if item is end:
                return
            pending.append(worker.submit(next, iterator, end))
            yield item  # type: ignore[misc]


@contextmanager
def background_queue(depth: int = _QUEUE_DEPTH) -> Iterator[SubmitFunction]:
    """Run submitted calls in order in a background thread.

    Yields `submit(function, *args)`, which returns at once unless `depth` calls are pending. The
    exception of a failed call is raised by a later `submit`, or when the block ends. The end of
    the block waits for all pending calls.
    """
    pending: deque[Future] = deque()

    def submit(function: Callable[..., object], *args: object) -> None:
        while pending and (len(pending) >= depth or pending[0].done()):
            pending.popleft().result()
        pending.append(worker.submit(function, *args))

    with _single_worker("background_queue") as worker:
        yield submit
        for future in pending:
            future.result()
