"""Find sequences of images in a video file, a folder of frames, or a folder of such folders."""

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
    """One sequence of images on disk.

    Attributes:
        name: name of the sequence.
        path: the video file or folder.
        image_paths: image files by frame name; None for a video file, whose frames have no names.
    """

    name: str
    path: Path
    image_paths: dict[str, Path] | None = None

    def iter_frames(self) -> Iterator[np.ndarray]:
        """Yield the frames as (H, W, 3) uint8 RGB.

        A video is rotated upright and resampled to its mean frame rate.

        Raises:
            UserError: a file cannot be read; the message names it.
        """
        if self.image_paths is None:
            return resample_fps(read_timed_frames(self.path), probe_video(self.path).fps)
        return (np.asarray(open_image(path)) for path in self.image_paths.values())


def find_frame_sources(path: Path, role: str = "") -> list[FrameSource]:
    """Find the sequences at `path`: a video file, or all leaf folders of images below a folder.

    Args:
        path: video file or folder.
        role: `real_B` or `fake_B`. If images `{role}_{name}` exist below the folder, as in a results
            folder of `test.py`, only these are used. Otherwise all images are.

    Raises:
        UserError: there are no images.
    """
    if path.is_file():
        return [FrameSource(path.stem, path)]
    leaf_folders = _find_result_images(path, role) if role else []
    return [
        FrameSource(
            path.name if folder == path else folder.relative_to(path).as_posix(),
            folder,
            {file.stem.removeprefix(f"{role}_"): file for file in files},
        )
        for folder, files in leaf_folders or iter_leaf_folders(path, FolderSpec("", IMAGE_SUFFIXES))
    ]


def _find_result_images(path: Path, role: str) -> list[tuple[Path, list[Path]]]:
    """Return each folder that holds images of a role, with these images in natural order."""
    files = [file for file in path.rglob(f"{role}_*") if file.suffix.lower() in IMAGE_SUFFIXES]
    files.sort(key=lambda file: (natural_order(file.parent), natural_order(file)))
    return [(folder, list(group)) for folder, group in groupby(files, attrgetter("parent"))]


def match_real_fake(
    real: Sequence[FrameSource], fake: Sequence[FrameSource]
) -> list[tuple[FrameSource, FrameSource]]:
    """Pair every generated sequence with the real one of the same name, as (real, fake).

    A single pair of sequences is matched whatever the names.

    Raises:
        UserError: a generated sequence has no real one.
    """
    if len(real) == len(fake) == 1:
        return [(real[0], fake[0])]
    real_by_name = {source.name: source for source in real}
    for source in fake:
        if source.name not in real_by_name:
            raise UserError(
                f"{source.path}: no real sequence is called {source.name}; there are "
                f"{', '.join(list(real_by_name)[:5])}: give folders whose sequences have the same names"
            )
    return [(real_by_name[source.name], source) for source in fake]


def iter_real_fake_pairs(
    real: FrameSource, fake: FrameSource, skip: int = 0
) -> Iterator[RealFakePair]:
    """Yield the real and generated images of each generated frame.

    Frames are paired by name if the real sequence has all names of the generated one, else in order.
    Real images are resized to the size of the generated ones, bicubic as in the data loader.

    Args:
        real: the real sequence.
        fake: the generated sequence.
        skip: number of real frames before the first generated one, if frames are paired in order.

    Raises:
        UserError: one of the sequences has frames without a partner.
    """
    if real.image_paths and fake.image_paths and set(fake.image_paths) <= set(real.image_paths):
        image_paths = {name: real.image_paths[name] for name in fake.image_paths}
        real = FrameSource(real.name, real.path, image_paths)
        skip = 0
    real_images = islice(real.iter_frames(), skip, None)
    for number, fake_image in enumerate(fake.iter_frames()):
        real_image = next(real_images, None)
        if real_image is None:
            raise UserError(
                f"{fake.path}: frame {number} has no real one, {real.path} has {number + skip} frames: "
                "give sequences of equal length (a generated one starts --skip frames later)"
            )
        yield _resize_to_shape(real_image, fake_image.shape), fake_image
    if next(real_images, None) is not None:
        raise UserError(
            f"{real.path} goes on after the last frame of {fake.path}: give sequences of equal length, "
            "or --skip N where the generated one starts N frames later (tG-1, 2 by default)"
        )


def _resize_to_shape(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if image.shape == shape:
        return image
    height, width = shape[:2]
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
