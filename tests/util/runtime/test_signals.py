"""Tests of util/runtime/signals.py, in a process that receives real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUSY_SCRIPT = """
from util.runtime.signals import make_graceful_stop_event
stop = make_graceful_stop_event()
print("ready", flush=True)
while True:
    sum(range(10 ** 6))  # never checks `stop`, like a long training step
"""


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_requests_a_stop_and_the_second_exits(stop_signal: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(stop_signal)
        assert process.stdout.readline() == "\n"
        assert process.stdout.readline().startswith(f"{stop_signal.name}: finishing the step")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
        process.send_signal(stop_signal)
        assert process.wait(timeout=5) == -stop_signal
