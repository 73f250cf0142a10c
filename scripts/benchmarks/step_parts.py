"""Time of the parts of a training step: `python -m scripts.benchmarks.step_parts FLAGS`, with flags of train.py.

On a GPU, set CUDA_LAUNCH_BLOCKING=1: a part ends when its call returns.
"""

from __future__ import annotations

import argparse
import runpy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from data.dataset import ClipDataset
from models.flow.dis import DISFlowEstimator
from models.losses.perceptual import PerceptualLoss
from models.training.device_groups import ParallelForward
from models.training.forward import Vid2VidForward
from models.training.trainer import Trainer
from scripts.benchmarks.report import format_markdown_table
from util.distributed.process_group import ProcessGroup
from util.distributed.replicas import ReplicatedNetworks

_TRAIN_PROGRAM = Path(__file__).parents[2] / "train.py"
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
    """Append the seconds of each call of a method to a list."""
    original: Callable = getattr(owner, method)

    def timed(*args: object, **kwargs: object) -> object:
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - start)

    with patch.object(owner, method, timed):
        yield


def main() -> None:
    """Run train.py and print the median time of each part that was called."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _, flags = parser.parse_known_args()
    seconds_by_part: dict[str, list[float]] = {part: [] for part in _STEP_PARTS}
    with ExitStack() as stack:
        for part, (owner, method) in _STEP_PARTS.items():
            stack.enter_context(timed_method(owner, method, seconds_by_part[part]))
        stack.enter_context(patch.object(sys, "argv", ["train.py", *flags]))
        runpy.run_path(str(_TRAIN_PROGRAM), run_name="__main__")
    rows = [
        (part, f"{1000 * statistics.median(seconds):.1f}", str(len(seconds)))
        for part, seconds in seconds_by_part.items()
        if seconds
    ]
    print(format_markdown_table(("part", "median ms", "calls"), rows))


if __name__ == "__main__":
    main()
