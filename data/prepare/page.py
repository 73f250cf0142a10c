"""What was made and what was dropped: a page, and the same in a few lines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from data.prepare.dataset import Prepared
from data.prepare.makers import Maker
from util.web_page import ResultSequence, ResultStream, write_results_page

WIDTH = 400  # of a picture on the page


def write_page(root: Path, videos: Sequence[Prepared], maker: Maker) -> str:
    """`root`/index.html over the data set; returns what was made and dropped, in lines."""
    lines = [line for video in videos for line in _lines(video)]
    sequences = [ResultSequence(f"{piece.phase}: {piece.name}", [
        ResultStream(title, sorted((root / f"{piece.phase}_{name}" / piece.name).glob(f"*{suffix}")))
        for title, name, suffix in _shown(maker)], f"frames {piece.start} to {piece.stop - 1} of {video.video}")
        for video in videos for piece in video.pieces if piece.phase]
    write_results_page(root, sequences, root.name, WIDTH, [*lines, f"Train: {train_line(root, maker)}"])
    return "\n".join(lines)


def train_line(root: Path, maker: Maker) -> str:
    """What trains on it: the pictures as they are, and a network that needs no first picture."""
    return (f"python train.py --name {shlex.quote(root.name)} --dataroot {shlex.quote(str(root))} {maker.flags()} "
            "--resize_or_crop none --no_first_img --clips_per_epoch 100")


def _shown(maker: Maker) -> list[tuple[str, str, str]]:
    """Title, folder and suffix of the streams that are pictures."""
    conditions = [("condition", name, suffix) for name, suffix in maker.suffixes.items() if suffix == ".png"]
    return [*conditions[:1], ("real", maker.picture_folder, ".jpg")]


def _lines(video: Prepared) -> list[str]:
    made = {phase: [piece for piece in video.pieces if piece.phase == phase] for phase in ("train", "test")}
    count = ", ".join(f"{sum(map(len, pieces))} frames in {len(pieces)} sequences for {phase}"
                      for phase, pieces in made.items())
    dropped = [f"{video.video}: frames {piece.start} to {piece.stop - 1} left out: {piece.reason}"
               for piece in video.pieces if not piece.phase]
    return [f"{video.video}: {count}", *(f"{video.video}: {note}" for note in video.notes), *dropped]
