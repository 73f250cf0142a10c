"""Ctrl-C and SIGTERM: the first asks to stop, the second stops."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from threading import Event, Thread
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def handle_first_signal(callback: Callable[[str], None]) -> None:
    """The first SIGINT or SIGTERM calls `note` with its name; whatever comes next ends the process at once, even
    inside a long computation. For the main thread."""

    def first(number: int, _: FrameType | None) -> None:
        for asked in _STOP_SIGNALS:
            signal.signal(asked, signal.SIG_DFL)
        callback(signal.Signals(number).name)

    for asked in _STOP_SIGNALS:
        signal.signal(asked, first)


def make_graceful_stop_event() -> Event:
    """Set from the first SIGINT or SIGTERM on; the program is to finish its step and save."""
    stop = Event()

    def note(name: str) -> None:
        stop.set()
        print(
            f"\n{name}: finishing the step, then saving; once more ends the run at once", flush=True
        )

    handle_first_signal(note)
    return stop


def ignore_signals_in_worker(_worker_id: int) -> None:
    """For a loader's workers: a Ctrl-C, or a SIGTERM to the whole job, reaches them too, but the step that is being
    finished may need their clip. They end when the training process tells them to, or has ended itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nobody tells who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_exit_on_parent_sigterm, args=(os.getppid(),), daemon=True).start()


def _exit_on_parent_sigterm(parent_pid: int) -> None:
    """Ends this process at the parent's SIGTERM, and takes no notice of any other."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent_pid:
        pass
    os._exit(0)
