"""Peak memory of synthesis over the length of the video: `python -m scripts.benchmarks.synthesis_memory 50 500`."""

from __future__ import annotations

import subprocess
import sys

import torch

from models.inference.first_frame import make_zero_images
from models.inference.synthesizer import SynthesisConfig, Synthesizer
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.input_encoding import ConditionConfig
from util.clip import Clip
from util.distributed.memory import measure_peak_memory

_IMAGE_SIZE, _N_LABELS = 64, 8


def measure_synthesis_peak_mib(n_frames: int) -> float:
    """MiB at most of this process, which synthesises so many frames."""
    networks = build_generator(GeneratorConfig(_N_LABELS, width=16, n_downsample=2, n_blocks=2))
    config = SynthesisConfig(
        ConditionConfig(_N_LABELS, instance_edges=False), 3, 4, no_first_img=True
    )
    given = (
        Clip(
            torch.randint(0, _N_LABELS, (1, 1, 1, _IMAGE_SIZE, _IMAGE_SIZE), dtype=torch.uint8),
            None,
            None,
            ((f"s/{n}",),),
        )
        for n in range(n_frames)
    )
    for _ in Synthesizer(networks, config, make_zero_images).synthesize(given):
        pass
    return measure_peak_memory([torch.device("cpu")])["cpu"] * 1024


if __name__ == "__main__":
    if sys.argv[1] == "--one":  # a process's peak never falls, so each length has its own
        print(f"{measure_synthesis_peak_mib(int(sys.argv[2])):.1f}")
    else:
        for length in sys.argv[1:]:
            command = [sys.executable, "-m", "scripts.benchmarks.synthesis_memory", "--one", length]
            took = subprocess.run(
                command, check=True, capture_output=True, text=True
            ).stdout.strip()
            print(f"{length} frames: {took} MiB at most")
