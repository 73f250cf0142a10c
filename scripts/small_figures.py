"""What smaller ways of synthesis cost in quality and gain in time: trained runs, the first one with key frames too.

`python scripts/small_figures.py checkpoints/full checkpoints/slim --keyframes 2,4`: the figures are those of
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

from data.inputs import open_input
from models.evaluation import Figures, Measure, SequenceScores, means, score_sequence, standard_measures
from models.first_frame import real_pictures, zeros
from models.flow.dis import Dis
from models.keyframes import choose_synthesis
from options import configs
from options.base import int_list
from options.loading import load_networks, run_options
from util.clip import Clip
from util.errors import reported
from util.pictures import to_uint8
from util.placement import place

Sequences = Sequence[tuple[str, Sequence[Clip]]]


@dataclass(frozen=True)
class Row:
    """seconds: of a frame, the median over sequences."""

    title: str
    parameters: int
    seconds: float
    figures: Figures


def measure(folder: Path, keyframes: int, sequences: Sequences, measures: Sequence[Measure]) -> Row:
    options = run_options(folder, "--keyframes", str(keyframes))
    device, networks = place(configs.placement(options)).device, load_networks(options)
    first = zeros if options.no_first_img else real_pictures
    scores: list[SequenceScores] = []
    seconds = []
    title = folder.name + (f", --keyframes {keyframes}" if keyframes > 1 else "")
    for name, clips in tqdm(sequences, title, unit="sequence"):
        began = time.perf_counter()
        paint, synthesis = choose_synthesis(keyframes), configs.synthesis(options)
        made = list(paint(networks.to(device), [clips], first, synthesis, device))
        pairs = [(to_uint8(clip.picture[0, 0]), to_uint8(picture[0])) for _, clip, picture in made
                 if clip.picture is not None]
        seconds.append((time.perf_counter() - began) / len(made))
        scores.append(score_sequence(name, pairs, measures))
    return Row(title, parameters_of(networks), median(seconds), means(scores))


def parameters_of(networks: nn.ModuleList) -> int:
    return sum(weight.numel() for weight in networks.parameters())


def read_sequences(folder: Path) -> Sequences:
    """All held-out sequences of a run's data, in memory."""
    options = run_options(folder, "--use_real_img")
    readers = open_input(configs.source(options, True), configs.domain(options), configs.geometry(options),
                         options.n_frames_G - 1, folder)
    return [(name, list(reader)) for name, reader, _ in readers.sequences]


def table(rows: Sequence[Row]) -> str:
    lines = ["| | parameters | ms a frame | times as fast | PSNR | SSIM | warping error | flicker |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        figures = row.figures
        lines.append(f"| {row.title} | {row.parameters / 1e6:.2f} M | {row.seconds * 1e3:.1f} "
                     f"| {rows[0].seconds / row.seconds:.2f} | {figures['psnr']:.2f} dB | {figures['ssim']:.3f} "
                     f"| {figures['warping_error']:.5f} | {figures['flicker']:.4f} |")
    last = rows[-1].figures
    return "\n".join([*lines, f"the real video: warping error {last['warping_error_real']:.5f}, "
                              f"flicker {last['flicker_real']:.4f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs on the same data")
    parser.add_argument("--keyframes", type=int_list, default=(2, 4), metavar="N,...", help="with the first run")
    args = parser.parse_args()
    sequences, measures = read_sequences(args.runs[0]), standard_measures(Dis(), torch.device("cpu"))
    measure(args.runs[0], 1, sequences[:1], measures)  # a machine's first frames are slow
    ways = [(args.runs[0], 1), *((args.runs[0], n) for n in args.keyframes), *((run, 1) for run in args.runs[1:])]
    print(table([measure(*way, sequences, measures) for way in ways]))


if __name__ == "__main__":
    with reported():
        main()
