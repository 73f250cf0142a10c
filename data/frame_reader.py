"""The `FrameReader` protocol: what a dataset mode implements (street, face and pose do)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from data.transforms import FrameTransform, ReferenceFrame
from util.images.normalization import PixelNormalization

# Suffixes of image files, in lower case; files match in any case.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tiff")

FramePaths = Mapping[str, Path]  # the files of one frame, by the keys of `FrameReader.folder_specs`


@dataclass(frozen=True)
class FolderSpec:
    """A folder of sequences under the data root.

    Attributes:
        folder: the folder is `{phase}_{folder}`, for example `train_A`.
        suffixes: lower-case suffixes of the files that are frames; other files are ignored.
    """

    folder: str
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES


@dataclass(frozen=True)
class FrameSample:
    """One transformed frame, as `util.clip.Clip` stores it but without the axes B and T.

    Attributes:
        condition: (C, H, W) uint8.
        image: (3, H, W) uint8; None if no real image was read.
        instance: (1, H, W) int32; None if the mode has no instance ids.
    """

    condition: Tensor
    image: Tensor | None
    instance: Tensor | None


class FrameReader(Protocol):
    """Reads the frames of one dataset mode.

    Implement it as a frozen dataclass whose fields are the options of the mode. It holds no other
    state: each method depends on its arguments and the fields only, since data loader workers
    call it in any order. It must be picklable.

    To add a dataset mode, write such a class and construct it in
    `options.configs.build_frame_reader`.
    """

    @property
    def normalization(self) -> PixelNormalization | None:
        """The function that converts a batch of uint8 conditions to float32 on the device.

        A module-level function (..., C, H, W) uint8 -> float32, for example `normalize_to_pm1`.
        None if the condition holds label ids, which the networks turn into one-hot channels.
        """
        ...

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        """Return the folders to read, by key.

        The keys are the mode's own and appear as the keys of `paths` in the other methods. Two are
        used elsewhere: `image` (the real images) and `condition` (label maps that `check_data.py`
        examines). The first entry names the frames. Sequences and frames of all
        folders are matched in sorted order and must be equal in number.

        Args:
            uses_images: whether the run needs real images (training, `--use_real_img`). A mode that
                needs them to make its condition returns their folder in any case.
        """
        ...

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        """Return the size (and face crop) from which the transform of a clip is computed.

        Args:
            paths: files of the first frame of a training clip or test sequence.
            is_train: whether the frame belongs to a training clip.

        Raises:
            UserError: a file cannot be read; the message names it.
        """
        ...

    def read_frame(
        self, paths: FramePaths, transform: FrameTransform, rng: np.random.Generator | None
    ) -> FrameSample:
        """Return one frame, with `transform` applied to every map.

        All tensors of the result have the same H and W in all frames of a clip.

        Args:
            paths: files of the frame.
            transform: the clip's resize, crop and flip.
            rng: the clip's generator for augmentation noise in training; None in test, where nothing
                is random.

        Raises:
            UserError: a file cannot be read, has another size than the other files of its frame, or
                holds invalid values; the message names it.
        """
        ...

    def validate_files(self, paths: FramePaths) -> None:
        """Open all files of a frame and check them as `read_frame` would, without rendering.

        Raises:
            UserError: as `read_frame`.
        """
        ...

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """Return a condition (C, H, W), as in `FrameSample`, as an RGB image (H, W, 3) uint8.

        The image is for people: `real_A` in the results folder and on the training page.
        """
        ...
