"""In a process of its own, as signals reach it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUSY = """
from util.runtime.signals import make_graceful_stop_event
stop = make_graceful_stop_event()
print("ready", flush=True)
while True:
    sum(range(10 ** 6))  # never looks at `stop`: a step that takes long
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_requests_a_stop_and_the_second_exits(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "\n"
        assert process.stdout.readline().startswith(f"{number.name}: finishing the step")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
        process.send_signal(number)
        assert process.wait(timeout=5) == -number
