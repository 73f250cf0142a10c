"""Times the parts of a training step: `python -m scripts.benchmarks.step_parts` and the flags of train.py."""

from __future__ import annotations

import runpy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from data.dataset import ClipDataset
from models.flow.dis import DISFlowEstimator
from models.losses.perceptual import PerceptualLoss
from models.training.device_groups import ParallelForward
from models.training.forward import Vid2VidForward
from models.training.trainer import Trainer
from util.distributed.process_group import ProcessGroup
from util.distributed.replicas import ReplicatedNetworks

_STEP_PARTS = {
    "clip read, with its flow": (ClipDataset, "__getitem__"),
    "flow of a pair": (DISFlowEstimator, "estimate"),
    "parameters broadcast": (ReplicatedNetworks, "broadcast_parameters"),
    "generator": (Vid2VidForward, "generate"),
    "discriminators and VGG": (Vid2VidForward, "compute_losses"),
    "VGG alone": (PerceptualLoss, "forward"),
    "backward pass and step": (Trainer, "optimize"),
    "gradients reduced": (ReplicatedNetworks, "reduce_gradients"),
    "between processes": (ProcessGroup, "all_reduce_gradients"),
    "forward pass and losses": (ParallelForward, "__call__"),
}


@contextmanager
def timed_method(owner: type, method: str, seconds: list[float]) -> Iterator[None]:
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
    taken: dict[str, list[float]] = {part: [] for part in _STEP_PARTS}
    with ExitStack() as stack:
        for part, (owner, method) in _STEP_PARTS.items():
            stack.enter_context(timed_method(owner, method, taken[part]))
        runpy.run_path("train.py", run_name="__main__")
    for part, seconds in taken.items():
        if seconds:
            print(
                f"{part:>24}: {1000 * statistics.median(seconds):8.1f} ms (median of {len(seconds)})"
            )
