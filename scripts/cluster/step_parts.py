"""Times the parts of a training step: `python -m scripts.cluster.step_parts` and the flags of train.py."""

from __future__ import annotations

import runpy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from data.clips import ClipDataset
from models.flow.dis import Dis
from models.perceptual import PerceptualLoss
from models.trainer import Trainer
from util.placement.processes import Processes
from util.placement.replicas import Replicas

PARTS = {"clip read, with its flow": (ClipDataset, "__getitem__"), "flow of a pair": (Dis, "vectors"),
         "weights sent out": (Replicas, "send_out"), "generator": (Trainer, "generate"),
         "discriminators and VGG": (Trainer, "judge"), "VGG alone": (PerceptualLoss, "forward"),
         "way back and step": (Trainer, "update"), "gradients home": (Replicas, "bring_home"),
         "between processes": (Processes, "average_gradients"), "whole step": (Trainer, "train_window")}


@contextmanager
def timed(owner: type, method: str, seconds: list[float]) -> Iterator[None]:
    """Notes how long each call takes, until it returns: on a GPU give CUDA_LAUNCH_BLOCKING=1."""
    original: Callable = getattr(owner, method)

    def measured(*args: object, **named: object) -> object:
        began = time.perf_counter()
        try:
            return original(*args, **named)
        finally:
            seconds.append(time.perf_counter() - began)

    with patch.object(owner, method, measured):
        yield


if __name__ == "__main__":
    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    with ExitStack() as stack:
        for part, (owner, method) in PARTS.items():
            stack.enter_context(timed(owner, method, taken[part]))
        runpy.run_path("train.py", run_name="__main__")
    for part, seconds in taken.items():
        if seconds:
            print(f"{part:>24}: {1000 * statistics.median(seconds):8.1f} ms (median of {len(seconds)})")
