"""Peak memory of synthesis by length of the video: `python -m scripts.benchmarks.synthesis_memory 50 500`."""

from __future__ import annotations

import argparse
import subprocess
import sys

import torch

from models.inference.first_frame import make_zero_images
from models.inference.synthesizer import SynthesisConfig, Synthesizer
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.input_encoding import ConditionConfig
from scripts.benchmarks.timing import peak_memory_gib
from util.clip import Clip

_IMAGE_SIZE = 64
_N_LABELS = 8
_CPU = torch.device("cpu")


def _random_clip(i: int) -> Clip:
    shape = (1, 1, 1, _IMAGE_SIZE, _IMAGE_SIZE)
    condition = torch.randint(0, _N_LABELS, shape, dtype=torch.uint8)
    return Clip(condition, None, None, ((f"s/{i}",),))


def measure_synthesis_peak_mib(n_frames: int) -> float:
    """Synthesize `n_frames` frames; return the peak memory of this process in MiB."""
    networks = build_generator(GeneratorConfig(_N_LABELS, width=16, n_downsample=2, n_blocks=2))
    config = SynthesisConfig(
        ConditionConfig(_N_LABELS, instance_edges=False), 3, 4, no_first_img=True
    )
    clips = (_random_clip(i) for i in range(n_frames))
    synthesizer = Synthesizer.from_generators(networks, config, make_zero_images)
    for _ in synthesizer.synthesize(clips):
        pass
    return peak_memory_gib(_CPU) * 1024


def measure_in_subprocess(n_frames: int) -> str:
    """Measure in a new process, because the peak memory of a process never falls."""
    command = [sys.executable, "-m", "scripts.benchmarks.synthesis_memory", "--one", str(n_frames)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return output.strip()


def main() -> None:
    """Parse the arguments and print one line per length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lengths", type=int, nargs="+", help="numbers of frames")
    parser.add_argument(
        "--one", action="store_true", help="measure the first length in this process"
    )
    args = parser.parse_args()
    if args.one:
        print(f"{measure_synthesis_peak_mib(args.lengths[0]):.1f}")
        return
    for n_frames in args.lengths:
        print(f"{n_frames} frames: peak memory {measure_in_subprocess(n_frames)} MiB", flush=True)


if __name__ == "__main__":
    main()
