"""Peak memory of synthesis over the length of the video: `python -m scripts.cluster.synthesis_memory 50 500`."""

from __future__ import annotations

import subprocess
import sys

import torch

from models.conditions import ConditionConfig
from models.first_frame import zeros
from models.generators import GeneratorConfig, build_generator
from models.synthesis import SynthesisConfig, synthesise
from util.clip import Clip
from util.placement.memory import peak_memory

SIDE, LABELS = 64, 8


def synthesised(frames: int) -> float:
    """MiB at most of this process, which synthesises so many frames."""
    networks = build_generator(GeneratorConfig(LABELS, width=16, n_downsample=2, n_blocks=2))
    config = SynthesisConfig(ConditionConfig(LABELS, instance_edges=False), 3, 4, begin_with_zeros=True)
    given = (Clip(torch.randint(0, LABELS, (1, 1, 1, SIDE, SIDE), dtype=torch.uint8), None, None, ((f"s/{n}",),))
             for n in range(frames))
    for _ in synthesise(networks, given, zeros, config, torch.device("cpu")):
        pass
    return peak_memory([torch.device("cpu")])["cpu"] * 1024


if __name__ == "__main__":
    if sys.argv[1] == "--one":  # a process's peak never falls, so each length has its own
        print(f"{synthesised(int(sys.argv[2])):.1f}")
    else:
        for length in sys.argv[1:]:
            command = [sys.executable, "-m", "scripts.cluster.synthesis_memory", "--one", length]
            took = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            print(f"{length} frames: {took} MiB at most")
