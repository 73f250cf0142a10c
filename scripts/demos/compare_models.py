"""What smaller ways of synthesis cost in quality and gain in time: trained runs, the first one with key frames too.

`python scripts/demos/compare_models.py checkpoints/full checkpoints/slim --keyframes 2,4`: the figures are those of
scripts/evaluate.py on all held-out sequences; times are of the networks and of what stands in for them, without files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import nn
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
from util.clip import Clip
from util.distributed import setup_devices
from util.errors import exit_on_user_error
from util.images.visualization import tensor_to_image

NamedSequences = Sequence[tuple[str, Sequence[Clip]]]


@dataclass(frozen=True)
class ModelRow:
    """seconds: of a frame, the median over sequences."""

    title: str
    parameters: int
    seconds: float
    metrics: MetricValues


def measure_model(
    folder: Path, keyframes: int, sequences: NamedSequences, metrics: Sequence[Metric]
) -> ModelRow:
    options = load_run_options(folder, "--keyframes", str(keyframes))
    first = make_zero_images if options.no_first_img else get_real_images
    synthesizer, _ = build_synthesizer(
        options, first, setup_devices(configs.device_config(options))
    )
    scores: list[SequenceScores] = []
    seconds = []
    title = folder.name + (f", --keyframes {keyframes}" if keyframes > 1 else "")
    for name, clips in tqdm(sequences, title, unit="sequence"):
        began = time.perf_counter()
        made = list(synthesize_sequences(synthesizer, [clips], keyframes))
        pairs = [
            (tensor_to_image(clip.image[0, 0]), tensor_to_image(image[0]))
            for _, clip, image in made
            if clip.image is not None
        ]
        seconds.append((time.perf_counter() - began) / len(made))
        scores.append(score_sequence(name, pairs, metrics))
    return ModelRow(
        title, _count_parameters(synthesizer.netG), median(seconds), average_metrics(scores)
    )


def _count_parameters(networks: nn.ModuleList) -> int:
    return sum(weight.numel() for weight in networks.parameters())


def read_test_sequences(folder: Path) -> NamedSequences:
    """All held-out sequences of a run's data, in memory."""
    options = load_run_options(folder, "--use_real_img")
    readers = open_inference_inputs(
        configs.input_config(options, True),
        configs.build_frame_reader(options),
        configs.transform_config(options),
        options.n_frames_G - 1,
        folder,
    )
    return [(name, list(reader)) for name, reader, _ in readers.sequences]


def format_model_table(rows: Sequence[ModelRow]) -> str:
    lines = [
        "| | parameters | ms a frame | times as fast | PSNR | SSIM | warping error | flicker |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = row.metrics
        lines.append(
            f"| {row.title} | {row.parameters / 1e6:.2f} M | {row.seconds * 1e3:.1f} "
            f"| {rows[0].seconds / row.seconds:.2f} | {figures['psnr']:.2f} dB | {figures['ssim']:.3f} "
            f"| {figures['warping_error']:.5f} | {figures['flicker']:.4f} |"
        )
    last = rows[-1].metrics
    return "\n".join(
        [
            *lines,
            f"the real video: warping error {last['warping_error_real']:.5f}, "
            f"flicker {last['flicker_real']:.4f}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs", type=Path, nargs="+", help="folders of trained runs on the same data"
    )
    parser.add_argument(
        "--keyframes", type=int_list, default=(2, 4), metavar="N,...", help="with the first run"
    )
    args = parser.parse_args()
    sequences, measures = (
        read_test_sequences(args.runs[0]),
        build_standard_metrics(DISFlowEstimator(), torch.device("cpu")),
    )
    measure_model(args.runs[0], 1, sequences[:1], measures)  # a machine's first frames are slow
    ways = [
        (args.runs[0], 1),
        *((args.runs[0], n) for n in args.keyframes),
        *((run, 1) for run in args.runs[1:]),
    ]
    print(format_model_table([measure_model(*way, sequences, measures) for way in ways]))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
