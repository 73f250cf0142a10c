import threading
import time

import pytest

from util.errors import UserError
from util.pipeline import ahead, behind


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


def test_items_come_in_order_and_all():
    assert list(ahead(range(50), depth=3)) == list(range(50)) and list(ahead([])) == []


def test_reading_ahead_is_bounded_and_in_another_thread():
    seen = []
    items = ahead(counted(50, seen), depth=3)
    assert next(items) == 0
    assert settled(lambda: len(seen) == 4)  # the one in hand and three ahead of it
    time.sleep(0.05)
    assert len(seen) == 4


def test_what_fails_ahead_is_raised_in_its_turn():
    items = ahead(counted(2, [], UserError("frame 2 is broken")), depth=5)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(UserError, match="^frame 2 is broken$"):
        next(items)


def test_who_stops_early_leaves_no_thread():
    before, items = threading.active_count(), ahead(counted(10**9, []))
    next(items)
    assert threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before


def test_work_behind_is_done_in_order_and_waited_for():
    done = []
    with behind(depth=2) as later:
        for number in range(20):
            later(lambda n: (time.sleep(0.001), done.append(n)), number)
    assert done == list(range(20))


def test_work_behind_is_bounded():
    gate, begun = threading.Event(), []
    with behind(depth=2) as later:
        feeder = threading.Thread(target=lambda: [later(lambda n: (begun.append(n), gate.wait()), n) for n in range(4)])
        feeder.start()
        feeder.join(0.05)
        assert feeder.is_alive() and begun == [0]  # the third call waits for the first piece
        gate.set()
        feeder.join()
    assert begun == [0, 1, 2, 3]


@pytest.mark.parametrize("more", [0, 1, 30])
def test_what_fails_behind_is_raised_here(more):
    def work(number):
        if number == 0:
            raise UserError("the disk is full")
        time.sleep(0.001)

    with pytest.raises(UserError, match="^the disk is full$"), behind(depth=2) as later:
        for number in range(1 + more):
            later(work, number)


def test_leaving_by_an_interrupt_drops_what_waits():
    gate, done = threading.Event(), []
    with pytest.raises(KeyboardInterrupt), behind(depth=3) as later:
        later(lambda: (gate.wait(), done.append("in hand")))
        later(done.append, "waiting")
        threading.Timer(0.05, gate.set).start()
        raise KeyboardInterrupt
    assert done == ["in hand"]
