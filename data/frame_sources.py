"""Images in order from wherever people keep them: a video file, a folder of frames, a folder of such folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

import numpy as np
from PIL import Image

from data.frame_reader import IMAGE_SUFFIXES, FolderSpec
from data.image_io import open_image
from data.sequences import iter_leaf_folders, natural_order
from util.errors import UserError
from util.images.pairs import RealFakePair
from util.io.video import probe_video, read_timed_frames, resample_fps


@dataclass(frozen=True)
class FrameSource:
    """One sequence. images: by frame name; of a video file None, its frames have no names."""

    name: str
    path: Path
    image_paths: dict[str, Path] | None = None

    def iter_frames(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, upright; of a video at its mean rate. UserError names what cannot be read."""
        if self.image_paths is None:
            return resample_fps(read_timed_frames(self.path), probe_video(self.path).fps)
        return (np.asarray(open_image(path)) for path in self.image_paths.values())


def find_frame_sources(path: Path, role: str = "") -> list[FrameSource]:
    """The sequences at `path`: a video, or all leaf folders of images below a folder.

    role: `real_B` or `fake_B` picks these of a results folder, where a frame's images lie beside each other.
    UserError: nothing there.
    """
    if path.is_file():
        return [FrameSource(path.stem, path)]
    found = _find_result_images(path, role) or iter_leaf_folders(
        path, FolderSpec("", IMAGE_SUFFIXES)
    )
    return [
        FrameSource(
            path.name if folder == path else folder.relative_to(path).as_posix(),
            folder,
            {file.stem.removeprefix(f"{role}_"): file for file in files},
        )
        for folder, files in found
    ]


def match_real_fake(
    real: Sequence[FrameSource], fake: Sequence[FrameSource]
) -> list[tuple[FrameSource, FrameSource]]:
    """Every generated sequence with its real one: by name, or each the only one. UserError: one without."""
    if len(real) == len(fake) == 1:
        return [(real[0], fake[0])]
    by_name = {footage.name: footage for footage in real}
    for footage in fake:
        if footage.name not in by_name:
            raise UserError(
                f"{footage.path}: no real sequence is called {footage.name}; there are "
                f"{', '.join(list(by_name)[:5])}: give folders whose sequences have the same names"
            )
    return [(by_name[footage.name], footage) for footage in fake]


def iter_real_fake_pairs(
    real: FrameSource, fake: FrameSource, skip: int = 0
) -> Iterator[RealFakePair]:
    """Real and generated frames: of one name where both have names, else in order. Real images are brought to the
    generated ones' size, as the loader does (bicubic).

    skip: real frames before the first generated one, where order decides. UserError: frames left over.
    """
    if real.image_paths and fake.image_paths and set(fake.image_paths) <= set(real.image_paths):
        real = FrameSource(
            real.name, real.path, {name: real.image_paths[name] for name in fake.image_paths}
        )
        skip = 0
    theirs, ours = islice(real.iter_frames(), skip, None), fake.iter_frames()
    for number, made in enumerate(ours):
        if (shown := next(theirs, None)) is None:
            raise UserError(
                f"{fake.path}: frame {number} has no real one, {real.path} has {number + skip} frames: "
                "give sequences of equal length (a generated one starts --skip frames later)"
            )
        yield _resize_to_shape(shown, made.shape), made
    if next(theirs, None) is not None:
        raise UserError(
            f"{real.path} goes on after the last frame of {fake.path}: give sequences of equal length, "
            "or --skip N where the generated one starts N frames later (tG-1, 2 by default)"
        )


def _resize_to_shape(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if image.shape == shape:
        return image
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _find_result_images(path: Path, role: str) -> list[tuple[Path, list[Path]]]:
    """Folders with their images of a role; what else test.py and evaluate.py have left there does not count."""
    found = (
        [file for file in path.rglob(f"{role}_*") if file.suffix.lower() in IMAGE_SUFFIXES]
        if role
        else []
    )
    by_folder = groupby(
        sorted(found, key=lambda file: (natural_order(file.parent), natural_order(file))),
        attrgetter("parent"),
    )
    return [(folder, list(files)) for folder, files in by_folder]
