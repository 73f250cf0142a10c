"""Pictures in order from wherever people keep them: a video file, a folder of frames, a folder of such folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

import numpy as np
from PIL import Image

from data.domain import PICTURES, Stream
from data.pictures import open_picture
from data.sequences import leaves, natural_order
from util.errors import UserError
from util.video import at_rate, probe, read_timed

Pair = tuple[np.ndarray, np.ndarray]  # real, generated: (H, W, 3) uint8, of one size


@dataclass(frozen=True)
class Footage:
    """One sequence. pictures: by frame name; of a video file None, its frames have no names."""

    name: str
    source: Path
    pictures: dict[str, Path] | None = None

    def frames(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, upright; of a video at its mean rate. UserError names what cannot be read."""
        if self.pictures is None:
            return at_rate(read_timed(self.source), probe(self.source).rate)
        return (np.asarray(open_picture(path)) for path in self.pictures.values())


def find_footage(path: Path, role: str = "") -> list[Footage]:
    """The sequences at `path`: a video, or all leaf folders of pictures below a folder.

    role: `real_B` or `fake_B` picks these of a results folder, where a frame's pictures lie beside each other.
    UserError: nothing there.
    """
    if path.is_file():
        return [Footage(path.stem, path)]
    found = _results(path, role) or leaves(path, Stream("", PICTURES))
    return [Footage(path.name if folder == path else folder.relative_to(path).as_posix(), folder,
                    {file.stem.removeprefix(f"{role}_"): file for file in files}) for folder, files in found]


def match_footage(real: Sequence[Footage], fake: Sequence[Footage]) -> list[tuple[Footage, Footage]]:
    """Every generated sequence with its real one: by name, or each the only one. UserError: one without."""
    if len(real) == len(fake) == 1:
        return [(real[0], fake[0])]
    by_name = {footage.name: footage for footage in real}
    for footage in fake:
        if footage.name not in by_name:
            raise UserError(f"{footage.source}: no real sequence is called {footage.name}; there are "
                            f"{', '.join(list(by_name)[:5])}: give folders whose sequences have the same names")
    return [(by_name[footage.name], footage) for footage in fake]


def pairs(real: Footage, fake: Footage, skip: int = 0) -> Iterator[Pair]:
    """Real and generated frames: of one name where both have names, else in order. Real pictures are brought to the
    generated ones' size, as the loader does (bicubic).

    skip: real frames before the first generated one, where order decides. UserError: frames left over.
    """
    if real.pictures and fake.pictures and set(fake.pictures) <= set(real.pictures):
        real = Footage(real.name, real.source, {name: real.pictures[name] for name in fake.pictures})
        skip = 0
    theirs, ours = islice(real.frames(), skip, None), fake.frames()
    for number, made in enumerate(ours):
        if (shown := next(theirs, None)) is None:
            raise UserError(f"{fake.source}: frame {number} has no real one, {real.source} has {number + skip} frames: "
                            "give sequences of equal length (a generated one starts --skip frames later)")
        yield _sized(shown, made.shape), made
    if next(theirs, None) is not None:
        raise UserError(f"{real.source} goes on after the last frame of {fake.source}: give sequences of equal length, "
                        "or --skip N where the generated one starts N frames later (tG-1, 2 by default)")


def _sized(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if picture.shape == shape:
        return picture
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _results(path: Path, role: str) -> list[tuple[Path, list[Path]]]:
    """Folders with their pictures of a role; what else test.py and evaluate.py have left there does not count."""
    found = [file for file in path.rglob(f"{role}_*") if file.suffix.lower() in PICTURES] if role else []
    by_folder = groupby(sorted(found, key=lambda file: (natural_order(file.parent), natural_order(file))),
                        attrgetter("parent"))
    return [(folder, list(files)) for folder, files in by_folder]
