"""Graceful shutdown: the first Ctrl-C or SIGTERM requests a stop, the second ends the process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from threading import Event, Thread
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def handle_first_signal(callback: Callable[[str], None]) -> None:
    """Call `callback` with the signal's name at the first SIGINT or SIGTERM.

    A second signal has its default effect: it ends the process at once, even inside a long
    computation. Call it in the main thread, as Python requires for setting handlers.
    """

    def handle(number: int, _: FrameType | None) -> None:
        for stop_signal in _STOP_SIGNALS:
            signal.signal(stop_signal, signal.SIG_DFL)
        callback(signal.Signals(number).name)

    for stop_signal in _STOP_SIGNALS:
        signal.signal(stop_signal, handle)


def make_graceful_stop_event() -> Event:
    """Return an event that the first SIGINT or SIGTERM sets, as a request to save and exit."""
    stop = Event()

    def request_stop(name: str) -> None:
        stop.set()
        print(
            f"\n{name}: finishing the step, then saving; repeat it to exit at once without saving",
            flush=True,
        )

    handle_first_signal(request_stop)
    return stop


def ignore_signals_in_worker(_worker_id: int) -> None:
    """Make a data loader worker ignore stop signals, except a SIGTERM sent by its parent process.

    Ctrl-C, or a SIGTERM to the whole job, reaches workers too, but the step in progress may need
    their clip. Workers end when the training process sends them SIGTERM or has exited.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # sigwaitinfo, which tells the sender, is not available elsewhere
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_exit_on_parent_sigterm, args=(os.getppid(),), daemon=True).start()


def _exit_on_parent_sigterm(parent_pid: int) -> None:
    """Exit at a SIGTERM sent by the parent, and ignore those of other senders."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent_pid:
        pass
    os._exit(0)
