"""Tests of util/runtime/prefetch.py."""

import threading
import time

import pytest

from util.errors import UserError
from util.runtime.prefetch import background_queue, prefetch


def count_to(stop, yielded, error=None):
    """Yield 0..stop-1, append each to `yielded`, then raise the error."""
    for i in range(stop):
        yielded.append(i)
        yield i
    if error:
        raise error


def becomes_true(condition):
    """Wait at most a second for the condition; return whether it is true."""
    end = time.monotonic() + 1
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_prefetch_yields_all_items_in_order():
    assert list(prefetch(range(50), depth=3)) == list(range(50))
    assert list(prefetch([])) == []


def test_prefetch_is_bounded_and_in_another_thread():
    yielded = []
    items = prefetch(count_to(50, yielded), depth=3)
    assert next(items) == 0
    assert becomes_true(lambda: len(yielded) == 4)  # the returned item and three ahead of it
    time.sleep(0.05)
    assert len(yielded) == 4


def test_prefetch_error_is_raised_in_order():
    items = prefetch(count_to(2, [], UserError("frame 2 is broken")), depth=5)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(UserError, match="^frame 2 is broken$"):
        next(items)


def test_early_exit_leaves_no_thread():
    n_threads = threading.active_count()
    items = prefetch(count_to(10**9, []))
    next(items)
    assert threading.active_count() == n_threads + 1
    items.close()
    assert threading.active_count() == n_threads


def test_background_work_is_ordered_and_awaited():
    done = []

    def work(i):
        time.sleep(0.001)
        done.append(i)

    with background_queue(depth=2) as submit:
        for i in range(20):
            submit(work, i)
    assert done == list(range(20))


def test_background_queue_is_bounded():
    gate, started = threading.Event(), []

    def work(i):
        started.append(i)
        gate.wait()

    with background_queue(depth=2) as submit:
        feeder = threading.Thread(target=lambda: [submit(work, i) for i in range(4)])
        feeder.start()
        feeder.join(0.05)
        assert feeder.is_alive() and started == [0]  # the third call waits for the first item
        gate.set()
        feeder.join()
    assert started == [0, 1, 2, 3]


@pytest.mark.parametrize("n_later_calls", [0, 1, 30])
def test_background_error_is_raised_in_the_caller(n_later_calls):
    def work(i):
        if i == 0:
            raise UserError("the disk is full")
        time.sleep(0.001)

    with pytest.raises(UserError, match="^the disk is full$"), background_queue(depth=2) as submit:
        for i in range(1 + n_later_calls):
            submit(work, i)


def test_interrupt_discards_queued_work():
    gate, done = threading.Event(), []

    def work():
        gate.wait()
        done.append("running")

    with pytest.raises(KeyboardInterrupt), background_queue(depth=3) as submit:
        submit(work)
        submit(done.append, "queued")
        threading.Timer(0.05, gate.set).start()
        raise KeyboardInterrupt
    assert done == ["running"]
