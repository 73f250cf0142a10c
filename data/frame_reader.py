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

    To add a dataset mode, implement this protocol as a frozen dataclass whose fields are the options
    of the mode, and construct it in `options.configs.build_frame_reader`. `data.street` is the
    simplest example.

    Loader workers receive a pickled copy and call it in any order. A method's result must therefore
    depend on its arguments and the fields only.

    The caller asks for `folder_specs`, finds the files, and calls for each clip
    `read_reference_frame` once, samples a transform, and calls `read_frame` for every frame.
    """

    @property
    def normalization(self) -> PixelNormalization | None:
        """The function that converts uint8 conditions (..., C, H, W) to float32 on the device.

        It must be a module-level function, for example `normalize_to_pm1`. None if the condition
        holds label ids, which the networks turn into one-hot channels.
        """
        ...

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        """Return the folders to read, by key.

        The other methods get one file of each folder, by the same keys. Sequences and frames of
        all folders are matched by sorted order and must be equal in number. Results are named after
        the files of the first folder.

        The key of the real images must be `image`, since flow is cached per image file. A folder
        of label maps should have the key `condition`, which `scripts/check_data.py` looks for. Other
        keys are free.

        Args:
            uses_images: whether the run needs real images (training, `--use_real_img`). A mode whose
                condition is computed from the image returns its folder in any case.
        """
        ...

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        """Return the size of the images and, optionally, a box to cut out of them.

        The transform of the whole clip is computed from it (`data.transforms.sample_transform`).

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
        """Return the condition, real image and instance ids of one frame.

        `transform` must have been applied to each of them. All have the same H and W, in all frames
        of a clip. `FrameSample.image` is None if `paths` has no image.

        Args:
            paths: files of the frame.
            transform: the clip's resize, crop and flip.
            rng: random generator of the clip for augmentation, used frame after frame. None in test,
                where the result must not be random.

        Raises:
            UserError: a file cannot be read, has another size than the other files of its frame, or
                holds invalid values; the message names it.
        """
        ...

    def validate_files(self, paths: FramePaths) -> None:
        """Check all files of a frame, without drawing or resizing.

        This is called for a sample of the data before training starts. It opens each file and
        refuses what `read_frame` and `read_reference_frame` would refuse.

        Raises:
            UserError: as `read_frame`.
        """
        ...

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """Return an RGB image (H, W, 3) uint8 that shows a condition to people.

        It is saved as `real_A` in the results folder and on the training page.

        Args:
            condition: (C, H, W) uint8, as in `FrameSample`.
        """
        ...
