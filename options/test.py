"""The flags of synthesis (SPEC 1)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from options.base import add_base_flags, count_or_inf
from options.opt_file import load_run_arguments
from options.parsing import OptionParser, Options, parse_explicit_flags, parse_options


def build_test_parser() -> OptionParser:
    parser = OptionParser("Turn label maps, face edges or poses into video with a trained network.")
    add_base_flags(parser)
    group = parser.add_argument_group("synthesis")
    group.add_argument("--phase", default="test", help="prefix of the data's folders")
    group.add_argument(
        "--which_epoch", default="latest", help="weights: latest, an epoch, or best (--eval_freq)"
    )
    group.add_argument(
        "--results_dir", type=Path, default=Path("./results/"), help="where images are written"
    )
    group.add_argument(
        "--how_many",
        type=count_or_inf,
        default=300,
        help="frames of the whole run, over all sequences; inf, the default with --input: all",
    )
    group.add_argument(
        "--start_frame", type=int, default=0, help="first frame of the first sequence"
    )
    group.add_argument(
        "--use_real_img", action="store_true", help="the first images are the real ones"
    )
    group.add_argument(
        "--use_ema", action="store_true", help="the averaged generator of a run with --ema"
    )
    group.add_argument(
        "--keyframes",
        type=int,
        default=1,
        metavar="N",
        help="let the networks paint only every N-th frame; those between are its neighbours, moved "
        "along and blended: faster, N - 1 frames later; default: every frame",
    )
    group.add_argument(
        "--batch_sequences",
        type=int,
        default=1,
        metavar="N",
        help="paint so many sequences side by side, in one batch where their sizes are equal: the same "
        "files, sooner where one alone leaves a GPU idle, for N times the memory; default: one "
        "after the other",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the networks at the first frame of each size and number of sequences, on a "
        "GPU to CUDA graphs: a wait, then faster frames; on a CPU usually slower than without; "
        "where there is no compiler this is said and they run as they are; "
        "TORCHINDUCTOR_CACHE_DIR: what is kept for the next run",
    )
    group.add_argument("--fps", type=float, help="of the videos; default: the --input's, else 25")
    group.add_argument("--aspect_ratio", type=float, default=1.0, help="accepted, without effect")
    group.add_argument(
        "--ntest", type=count_or_inf, default=float("inf"), help="accepted, without effect"
    )
    add_label_prediction_flags(parser)
    add_video_flags(parser)
    return parser


def add_label_prediction_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("into the future")
    group.add_argument(
        "--future_labels",
        type=Path,
        metavar="DIR",
        help="the folder of a run of --model future_labels: of each sequence only the first label maps "
        "are taken, and this network predicts those after them; instance edges are then those "
        "between labels",
    )
    group.add_argument(
        "--future_frames",
        type=int,
        metavar="N",
        help="label maps to predict of each sequence; default: as many as the data set holds",
    )


def add_video_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("from a video, to a video")
    group.add_argument(
        "--input",
        metavar="VIDEO",
        help="a video or a folder of its frames, whole unless --how_many is given; done as "
        "--dataroot was by scripts/prepare.py; -: raw rgb24 frames from standard input",
    )
    group.add_argument(
        "--input_size", type=frame_size, metavar="WxH", help="of the frames of --input -"
    )
    group.add_argument(
        "--output",
        metavar="FILE.mp4",
        help="one video of all frames, at the input's rate and size and "
        "with its sound; -: raw rgb24 frames to standard output",
    )
    group.add_argument(
        "--side_by_side", action="store_true", help="in --output the condition beside the generated"
    )
    group.add_argument(
        "--label_map_edit",
        type=label_mapping,
        default=(),
        metavar="FROM=TO,...",
        help="turn labels into others: 11=21 makes Cityscapes' buildings trees",
    )
    group.add_argument(
        "--loop",
        action="store_true",
        help="begin the condition again at its end, up to --how_many (300)",
    )


def frame_size(text: str) -> tuple[int, int]:
    width, height = text.lower().split("x")
    return int(width), int(height)


def label_mapping(text: str) -> tuple[tuple[int, int], ...]:
    """`11=21,26=24` as pairs."""
    return tuple((int(old), int(new)) for old, new in (edit.split("=") for edit in text.split(",")))


def parse_test(argv: Sequence[str] | None = None) -> Options:
    """Checked options of `test.py`, the run's own where the command line is silent. UserError names the flags that do
    not fit together."""
    argv, parser = sys.argv[1:] if argv is None else argv, build_test_parser()
    return parse_options(
        parser, [*load_run_arguments(parser, argv), *default_how_many(parser, argv), *argv]
    )


def default_how_many(parser: OptionParser, argv: Sequence[str]) -> list[str]:
    """`--input` is done to its end where nothing else is said; a loop has none."""
    flags = parse_explicit_flags(parser, argv)
    endless = flags.get("loop", False) and flags.get("input") != "-"
    return ["--how_many=inf"] if flags.get("input") is not None and not endless else []
