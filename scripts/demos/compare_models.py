"""Quality and speed of trained runs on the same data, the first one with keyframes too.

`python -m scripts.demos.compare_models checkpoints/full checkpoints/slim --keyframes 2,4`

The metrics are those of scripts/evaluate.py on all held-out sequences. Times do not include
reading and writing files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from tabulate import tabulate
from tqdm import tqdm

from data.inference_inputs import open_inference_inputs
from models.evaluation.video_metrics import (
    Metric,
    MetricValues,
    SequenceScores,
    average_metrics,
    build_standard_metrics,
    score_sequence,
)
from models.flow.dis import DISFlowEstimator
from models.inference.batched import synthesize_sequences
from models.inference.first_frame import get_real_images, make_zero_images
from options import configs
from options.base import int_list
from options.build_inference import build_synthesizer
from options.from_checkpoint import load_run_options
from scripts.benchmarks.case import count_parameters
from util.clip import Clip
from util.distributed import setup_devices
from util.errors import exit_on_user_error
from util.images.visualization import tensor_to_image

NamedSequences = Sequence[tuple[str, Sequence[Clip]]]
_COLUMNS = (
    "model",
    "parameters",
    "ms per frame",
    "speedup",
    "PSNR",
    "SSIM",
    "warping error",
    "flicker",
)


@dataclass(frozen=True)
class ModelRow:
    """Results of one model.

    Attributes:
        title: Name of the run, and its keyframes.
        parameters: Number of parameters of the generators.
        seconds: Seconds per frame, the median over sequences.
        metrics: Averages over sequences.
    """

    title: str
    parameters: int
    seconds: float
    metrics: MetricValues


def measure_model(
    folder: Path, keyframes: int, sequences: NamedSequences, metrics: Sequence[Metric]
) -> ModelRow:
    """Generate all sequences with a run's generators and evaluate them."""
    options = load_run_options(folder, "--keyframes", str(keyframes))
    get_first_images = make_zero_images if options.no_first_img else get_real_images
    device_setup = setup_devices(configs.device_config(options))
    synthesizer, _ = build_synthesizer(options, get_first_images, device_setup)
    title = folder.name + (f", --keyframes {keyframes}" if keyframes > 1 else "")
    scores: list[SequenceScores] = []
    seconds = []
    for name, clips in tqdm(sequences, title, unit="sequence"):
        start = time.perf_counter()
        frames = list(synthesize_sequences(synthesizer, [clips], keyframes))
        pairs = [
            (tensor_to_image(clip.image[0, 0]), tensor_to_image(image[0]))
            for _, clip, image in frames
            if clip.image is not None
        ]
        seconds.append((time.perf_counter() - start) / len(frames))
        scores.append(score_sequence(name, pairs, metrics))
    return ModelRow(
        title, count_parameters(synthesizer.netG), median(seconds), average_metrics(scores)
    )


def read_test_sequences(folder: Path) -> NamedSequences:
    """Read all held-out sequences of a run's data into memory."""
    options = load_run_options(folder, "--use_real_img")
    inputs = open_inference_inputs(
        configs.input_config(options, True),
        configs.build_frame_reader(options),
        configs.transform_config(options),
        options.n_frames_G - 1,
        folder,
    )
    return [(name, list(reader)) for name, reader, _ in inputs.sequences]


def format_model_table(rows: Sequence[ModelRow]) -> str:
    """Format a table of the models; speedups are relative to the first one."""
    cells = [
        (
            row.title,
            f"{row.parameters / 1e6:.2f} M",
            f"{row.seconds * 1e3:.1f}",
            f"{rows[0].seconds / row.seconds:.2f}",
            f"{row.metrics['psnr']:.2f} dB",
            f"{row.metrics['ssim']:.3f}",
            f"{row.metrics['warping_error']:.5f}",
            f"{row.metrics['flicker']:.4f}",
        )
        for row in rows
    ]
    table = tabulate(cells, _COLUMNS, tablefmt="github", disable_numparse=True)
    real = rows[-1].metrics
    return (
        f"{table}\nreal video: warping error {real['warping_error_real']:.5f}, "
        f"flicker {real['flicker_real']:.4f}"
    )


def main() -> None:
    """Measure the models and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", help="folders of trained runs on the same data"
    )
    parser.add_argument(
        "--keyframes",
        type=int_list,
        default=(2, 4),
        metavar="N,...",
        help="keyframe intervals to measure with the first run; default: 2,4",
    )
    args = parser.parse_args()
    first_run, *other_runs = args.runs
    sequences = read_test_sequences(first_run)
    metrics = build_standard_metrics(DISFlowEstimator(), torch.device("cpu"))
    measure_model(first_run, 1, sequences[:1], metrics)  # warm-up
    models = [(first_run, keyframes) for keyframes in (1, *args.keyframes)]
    models += [(run, 1) for run in other_runs]
    rows = [measure_model(run, keyframes, sequences, metrics) for run, keyframes in models]
    print(format_model_table(rows))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
