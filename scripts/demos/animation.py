"""Write a looping WebP of a result sequence: condition, generated and real frame side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from util.errors import UserError, exit_on_user_error

_STREAMS = ("real_A", "fake_B", "real_B")


def read_frame_rows(folder: Path, n_frames: int) -> list[Image.Image]:
    """Return the first frames of a result sequence, each as one row of its three images."""
    rows = []
    for fake_path in sorted(folder.glob("fake_B_*.jpg"))[:n_frames]:
        frame_name = fake_path.stem.removeprefix("fake_B_")
        paths = [next(folder.glob(f"{stream}_{frame_name}.*"), None) for stream in _STREAMS]
        images = [np.asarray(Image.open(path).convert("RGB")) for path in paths if path]
        rows.append(Image.fromarray(np.concatenate(images, axis=1)))
    if not rows:
        raise UserError(f"{folder} has no fake_B_*.jpg: expected the results of one sequence")
    return rows


def main() -> None:
    """Parse the flags and write the animation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results of one sequence")
    parser.add_argument("--out", type=Path, required=True, help="WebP file to write")
    parser.add_argument("--frames", type=int, default=30, help="at most")
    parser.add_argument("--fps", type=float, default=15.0)
    args = parser.parse_args()
    first, *others = read_frame_rows(args.results, args.frames)
    duration_ms = round(1000 / args.fps)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    first.save(
        args.out, save_all=True, append_images=others, duration=duration_ms, loop=0, quality=80
    )
    print(f"{args.out}: {1 + len(others)} frames, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
