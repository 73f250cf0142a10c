"""What a domain (street, face, pose) has to say about itself; everything else in `data` is the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from data.transforms import FrameTransform
from util.images.normalization import PixelNormalization

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tiff")  # any case (SPEC 2)

FramePaths = Mapping[str, Path]  # one frame's file in each stream


@dataclass(frozen=True)
class FolderSpec:
    """A folder of sequences under the data root, `{phase}_{folder}`, and the files that count there."""

    folder: str
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES


@dataclass(frozen=True)
class ReferenceFrame:
    """What a clip's geometry is planned from: its first frame.

    size: (w, h) of the image after `box` was cut out of it.
    box: (left, top, right, bottom) cut first, possibly beyond the image's border (zero filled); None: all of it.
    """

    size: tuple[int, int]
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class FrameSample:
    """One frame, ready to be stacked. As a clip is read (`util.clip.Clip`), without B and T: (C, H, W), uint8 but for
    instance ids."""

    condition: Tensor
    image: Tensor | None
    instance: Tensor | None


class FrameReader(Protocol):
    """A frozen dataclass of the domain's own options. Stateless: every method is a function of its arguments."""

    @property
    def normalization(self) -> PixelNormalization | None:
        """What the bytes of a condition stand for; None: label ids."""
        ...

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        """The streams that a run reads, the one that names the frames first. `image`: whether the run needs the
        real images for themselves (training, `use_real_img`); a domain that draws from them asks for them anyway."""
        ...

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        """What to plan the geometry from, read off the first frame of a clip (test: of a sequence)."""
        ...

    def read_frame(
        self, paths: FramePaths, transform: FrameTransform, rng: np.random.Generator | None
    ) -> FrameSample:
        """One frame. `rng`: the clip's augmentation noise in training, None in test. UserError names the file."""
        ...

    def validate_files(self, paths: FramePaths) -> None:
        """Opens all of a frame's files and refuses what `read` would, without drawing or resizing."""
        ...

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """A frame's condition (C, H, W), as read, as people see it: (H, W, 3) uint8 (`real_A` of SPEC 10)."""
        ...
