import threading
import time

import pytest

from util.errors import UserError
from util.runtime.prefetch import background_queue, prefetch


def counted(until, seen, fault=None):
    for number in range(until):
        seen.append(number)
        yield number
    if fault:
        raise fault


def settled(condition):
    """Whether it comes true within a second."""
    end = time.monotonic() + 1
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_prefetch_yields_all_items_in_order():
    assert list(prefetch(range(50), depth=3)) == list(range(50)) and list(prefetch([])) == []


def test_prefetch_is_bounded_and_in_another_thread():
    seen = []
    items = prefetch(counted(50, seen), depth=3)
    assert next(items) == 0
    assert settled(lambda: len(seen) == 4)  # the one in hand and three ahead of it
    time.sleep(0.05)
    assert len(seen) == 4


def test_prefetch_error_is_raised_in_order():
    items = prefetch(counted(2, [], UserError("frame 2 is broken")), depth=5)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(UserError, match="^frame 2 is broken$"):
        next(items)


def test_early_exit_leaves_no_thread():
    before, items = threading.active_count(), prefetch(counted(10**9, []))
    next(items)
    assert threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before


def test_background_work_is_ordered_and_awaited():
    done = []
    with background_queue(depth=2) as later:
        for number in range(20):
            later(lambda n: (time.sleep(0.001), done.append(n)), number)
    assert done == list(range(20))


def test_background_queue_is_bounded():
    gate, begun = threading.Event(), []
    with background_queue(depth=2) as later:
        feeder = threading.Thread(
            target=lambda: [later(lambda n: (begun.append(n), gate.wait()), n) for n in range(4)]
        )
        feeder.start()
        feeder.join(0.05)
        assert feeder.is_alive() and begun == [0]  # the third call waits for the first piece
        gate.set()
        feeder.join()
    assert begun == [0, 1, 2, 3]


@pytest.mark.parametrize("more", [0, 1, 30])
def test_background_error_is_raised_in_the_caller(more):
    def work(number):
        if number == 0:
            raise UserError("the disk is full")
        time.sleep(0.001)

    with pytest.raises(UserError, match="^the disk is full$"), background_queue(depth=2) as later:
        for number in range(1 + more):
            later(work, number)


def test_interrupt_discards_queued_work():
    gate, done = threading.Event(), []
    with pytest.raises(KeyboardInterrupt), background_queue(depth=3) as later:
        later(lambda: (gate.wait(), done.append("in hand")))
        later(done.append, "waiting")
        threading.Timer(0.05, gate.set).start()
        raise KeyboardInterrupt
    assert done == ["in hand"]
