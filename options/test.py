"""The flags of synthesis (SPEC 1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from options.base import add_base_flags, limit
from options.parsing import Options, Parser, parse


def synthesis_parser() -> Parser:
    parser = Parser("Turn label maps, face edges or poses into video with a trained network.")
    add_base_flags(parser)
    group = parser.add_argument_group("synthesis")
    group.add_argument("--phase", default="test", help="prefix of the data's folders")
    group.add_argument("--which_epoch", default="latest", help="weights: latest or an epoch")
    group.add_argument("--results_dir", type=Path, default=Path("./results/"), help="where pictures are written")
    group.add_argument("--how_many", type=int, default=300, help="frames of the whole run, over all sequences")
    group.add_argument("--start_frame", type=int, default=0, help="first frame of the first sequence")
    group.add_argument("--use_real_img", action="store_true", help="the first pictures are the real ones")
    group.add_argument("--use_ema", action="store_true", help="the averaged generator of a run with --ema")
    group.add_argument("--fps", type=float, default=25.0, help="of the videos")
    group.add_argument("--aspect_ratio", type=float, default=1.0, help="accepted, without effect")
    group.add_argument("--ntest", type=limit, default=float("inf"), help="accepted, without effect")
    return parser


def parse_test(argv: Sequence[str] | None = None) -> Options:
    """Checked options of `test.py`. UserError names the flags that do not fit together."""
    return parse(synthesis_parser(), argv)
