"""Flags of test.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from options.base import UNUSED_FLAG_HELP, add_base_flags, count_or_inf
from options.opt_file import load_run_arguments
from options.parsing import OptionParser, parse_explicit_flags, parse_options
from options.schema import TestOptions


def build_test_parser() -> OptionParser:
    """Build the parser of test.py."""
    parser = OptionParser(
        "Generate video from label maps, face edges or poses with a trained generator."
    )
    add_base_flags(parser)
    _add_inference_flags(parser)
    _add_label_prediction_flags(parser)
    _add_video_flags(parser)
    return parser


def _add_inference_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("inference")
    group.add_argument(
        "--phase",
        default="test",
        help="prefix of the data folders: PHASE_A, PHASE_B, ...; ignored with --input",
    )
    group.add_argument(
        "--which_epoch",
        default="latest",
        help="weights to load: latest, an epoch, or best (see --eval_freq of train.py)",
    )
    group.add_argument(
        "--results_dir",
        type=Path,
        default=Path("./results/"),
        metavar="DIR",
        help="folder of the generated images: DIR/NAME/PHASE_EPOCH/",
    )
    group.add_argument(
        "--how_many",
        type=count_or_inf,
        default=300,
        metavar="N",
        help="maximum number of generated frames, over all sequences; inf: all, which is the default "
        "with --input and without --loop_input",
    )
    group.add_argument(
        "--start_frame",
        type=int,
        default=0,
        metavar="N",
        help="first frame to read of the first sequence",
    )
    group.add_argument(
        "--use_real_img",
        action="store_true",
        help="use the real images as the first frames; ignored with --no_first_img",
    )
    group.add_argument(
        "--use_ema",
        action="store_true",
        help="load the averaged generator of a run that was trained with --ema",
    )
    group.add_argument(
        "--keyframes",
        type=int,
        default=1,
        metavar="N",
        help="run the generator on every N-th frame only and interpolate the others by warping and "
        "blending their neighbors: faster, with a delay of N - 1 frames",
    )
    group.add_argument(
        "--batch_sequences",
        type=int,
        default=1,
        metavar="N",
        help="process N sequences in parallel, in one batch if their sizes are equal. Uses N times the "
        "memory; faster if one sequence does not fill the GPU. Ignored with --input and --keyframes",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="apply torch.compile to the generator, on a GPU with CUDA graphs. The first frame of each "
        "size and batch size is slow; later frames are faster on a GPU and usually slower on a CPU. "
        "Without a working compiler, a warning is printed and the generator runs uncompiled. "
        "TORCHINDUCTOR_CACHE_DIR sets the folder of the compiler's cache",
    )
    group.add_argument(
        "--fps",
        type=float,
        help="frames per second of the written videos; default: the rate of --input, else 25",
    )
    group.add_argument("--aspect_ratio", type=float, default=1.0, help=UNUSED_FLAG_HELP)
    group.add_argument("--ntest", type=count_or_inf, default=float("inf"), help=UNUSED_FLAG_HELP)


def _add_label_prediction_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("label prediction")
    group.add_argument(
        "--future_labels",
        type=Path,
        metavar="DIR",
        help="run folder of --model future_labels. Only the first label maps of each sequence are "
        "read; this network predicts the following ones. Instance edges are then the edges between "
        "labels",
    )
    group.add_argument(
        "--future_frames",
        type=int,
        metavar="N",
        help="label maps to predict per sequence; default: as many as the data set contains",
    )


def _add_video_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("video input and output")
    group.add_argument(
        "--input",
        metavar="VIDEO",
        help="video file or folder of frames to process instead of the data set; its conditions are "
        "extracted with the settings that scripts/prepare.py used for --dataroot. -: raw rgb24 "
        "frames from standard input",
    )
    group.add_argument(
        "--input_size",
        type=frame_size,
        metavar="WxH",
        help="width and height of the raw frames, in pixels; ignored without --input -",
    )
    group.add_argument(
        "--output",
        metavar="FILE.mp4",
        help="also write all frames to one video, with the frame rate, size and audio of --input. "
        "-: raw rgb24 frames to standard output",
    )
    group.add_argument(
        "--side_by_side",
        action="store_true",
        help="put the condition next to the generated image in --output; ignored without it",
    )
    group.add_argument(
        "--label_map_edit",
        type=label_mapping,
        default=(),
        metavar="FROM=TO,...",
        help="replace labels of the condition: 11=21 replaces Cityscapes' buildings by trees",
    )
    group.add_argument(
        "--loop_input",
        "--loop",
        action="store_true",
        help="repeat the condition from its start until --how_many frames (300 by default) are "
        "generated; ignored with --input - and --future_labels",
    )


def frame_size(text: str) -> tuple[int, int]:
    """Parse `640x480` as (width, height)."""
    width, height = text.lower().split("x")
    return int(width), int(height)


def label_mapping(text: str) -> tuple[tuple[int, int], ...]:
    """Parse `11=21,26=24` as pairs (old label, new label)."""
    pairs = []
    for edit in text.split(","):
        old, new = edit.split("=")
        pairs.append((int(old), int(new)))
    return tuple(pairs)


def parse_test(argv: Sequence[str] | None = None) -> TestOptions:
    """Parse and check the flags of test.py, with defaults from the run's opt.txt.

    Args:
        argv: The arguments; None for those of the process.

    Raises:
        UserError: A flag or a combination of flags is invalid, or contradicts the run; the message
            names them.
    """
    if argv is None:
        argv = sys.argv[1:]
    parser = build_test_parser()
    defaults = [*load_run_arguments(parser, argv), *default_how_many(parser, argv)]
    return parse_options(parser, [*defaults, *argv], TestOptions)


def default_how_many(parser: OptionParser, argv: Sequence[str]) -> list[str]:
    """Return the argument that removes the frame limit for `--input`, unless the input is repeated."""
    flags = parse_explicit_flags(parser, argv)
    if flags.get("input") is None:
        return []
    is_endless = flags.get("loop_input", False) and flags["input"] != "-"
    return [] if is_endless else ["--how_many=inf"]
