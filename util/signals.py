"""Ctrl-C and SIGTERM: the first asks to stop, the second stops."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from threading import Event, Thread
from types import FrameType

ASKED = (signal.SIGINT, signal.SIGTERM)


def survive_first(note: Callable[[str], None]) -> None:
    """The first SIGINT or SIGTERM calls `note` with its name; whatever comes next ends the process at once, even
    inside a long computation. For the main thread."""
    def first(number: int, _: FrameType | None) -> None:
        for asked in ASKED:
            signal.signal(asked, signal.SIG_DFL)
        note(signal.Signals(number).name)

    for asked in ASKED:
        signal.signal(asked, first)


def stop_when_asked() -> Event:
    """Set from the first SIGINT or SIGTERM on; the program is to finish its step and save."""
    stop = Event()

    def note(name: str) -> None:
        stop.set()
        print(f"\n{name}: finishing the step, then saving; once more ends the run at once", flush=True)

    survive_first(note)
    return stop


def leave_to_parent(_worker: int) -> None:
    """For a loader's workers: a Ctrl-C, or a SIGTERM to the whole job, reaches them too, but the step that is being
    finished may need their clip. They end when the training process tells them to, or has ended itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nobody tells who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _obey(parent: int) -> None:
    """Ends this process at the parent's SIGTERM, and takes no notice of any other."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
