"""Ctrl-C and SIGTERM: the first asks to stop, the second stops."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Event
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
    finished may need their clip. They end with the training process."""
    survive_first(lambda name: None)
