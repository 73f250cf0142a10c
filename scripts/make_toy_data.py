"""Write a synthetic data set: `python scripts/make_toy_data.py --mode street --out DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

from data.synthetic import make_toy_data
from data.synthetic.write import DEFAULT_SCENE_SIZES
from options.test import frame_size

_PHASES = {"train": ("train",), "test": ("test",), "both": ("train", "test")}


def main() -> None:
    """Parse the flags and write the data set."""
    default_sizes = ", ".join(
        f"{mode} {width}x{height}" for mode, (width, height) in DEFAULT_SCENE_SIZES.items()
    )
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=DEFAULT_SCENE_SIZES, required=True)
    parser.add_argument("--out", type=Path, required=True, help="data root to write")
    parser.add_argument("--sequences", type=int, default=2, help="per phase")
    parser.add_argument("--frames", type=int, default=12, help="per sequence")
    parser.add_argument(
        "--size", type=frame_size, metavar="WxH", help=f"image size; default: {default_sizes}"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--phase", choices=_PHASES, default="both")
    args = parser.parse_args()
    make_toy_data(
        args.mode,
        args.out,
        sequences=args.sequences,
        frames=args.frames,
        size=args.size,
        seed=args.seed,
        phases=_PHASES[args.phase],
    )
    print(f"{args.mode} data is in {args.out}")


if __name__ == "__main__":
    main()
