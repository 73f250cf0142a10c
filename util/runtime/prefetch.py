"""Work beside the main thread's: reading ahead of it and writing behind it, in order and in bounded memory.

One thread each. What fails there is raised here, as itself. Whoever leaves early, by Ctrl-C too, waits for the piece in
hand and no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_QUEUE_DEPTH = 4  # pieces that wait: enough to even out single slow ones

_Item = TypeVar("_Item")
SubmitFunction = Callable[..., None]


@contextmanager
def _single_worker(name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool of one: what is handed to it is done in order."""
    worker = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield worker
    finally:
        worker.shutdown(cancel_futures=True)


def prefetch(items: Iterable[_Item], depth: int = _QUEUE_DEPTH) -> Iterator[_Item]:
    """The items, made by a thread that is up to `depth` of them ahead."""
    source, end = iter(items), object()
    with _single_worker("ahead") as worker:
        waiting = deque(worker.submit(next, source, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(worker.submit(next, source, end))
            yield item  # type: ignore[misc]


@contextmanager
def background_queue(depth: int = _QUEUE_DEPTH) -> Iterator[SubmitFunction]:
    """Gives `later(work, *arguments)`, which returns at once unless `depth` pieces wait. A piece that failed is raised
    by one of the next calls, at the latest when the block ends, which waits for all."""
    waiting: deque[Future] = deque()

    def later(work: Callable[..., object], *arguments: object) -> None:
        while waiting and (len(waiting) >= depth or waiting[0].done()):
            waiting.popleft().result()
        waiting.append(worker.submit(work, *arguments))

    with _single_worker("behind") as worker:
        yield later
        for piece in waiting:
            piece.result()
