"""Street scenes, and any other footage with a condition image for each frame (modes temporal and test)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.frame_reader import FolderSpec, FramePaths, FrameSample, ReferenceFrame
from data.image_io import (
    check_same_size,
    id_map_to_tensor,
    image_to_tensor,
    open_image,
    open_image_unconverted,
    read_image_size,
)
from data.transforms import FrameTransform
from util.errors import UserError
from util.images.normalization import PixelNormalization, normalize_to_pm1
from util.images.visualization import label_map_to_image, tensor_to_image

_NEAREST, _BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class StreetFrameReader:
    """Fulfils `data.frame_reader.FrameReader`.

    label_nc: A holds label ids 0..label_nc - 1; 0: A is a colour (input_nc 3) or grey (input_nc 1) image.
    use_instance: a third folder holds instance ids of 8, 16 or 32 bits.
    ignore_label: an id beyond those that means unlabelled. Such pixels come as id label_nc, which has no channel.
    """

    label_nc: int
    input_nc: int
    use_instance: bool
    ignore_label: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_nc <= 256:
            raise UserError(
                f"--label_nc {self.label_nc}: expected 0 (no labels) to 256, ids are kept in 8 bits"
            )
        if not self.label_nc and self.input_nc not in (1, 3):
            raise UserError(
                f"--input_nc {self.input_nc}: a condition without --label_nc is grey (1) or RGB (3)"
            )

    @property
    def normalization(self) -> PixelNormalization | None:
        return None if self.label_nc else normalize_to_pm1

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        streams = {"condition": FolderSpec("A")}
        if uses_images:
            streams["image"] = FolderSpec("B")
        if self.use_instance:
            streams["instance"] = FolderSpec("inst")
        return streams

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        return ReferenceFrame(
            read_image_size(paths["image" if is_train and "image" in paths else "condition"])
        )

    def read_frame(
        self, paths: FramePaths, transform: FrameTransform, rng: np.random.Generator | None
    ) -> FrameSample:
        images = self._open_images(paths)
        return FrameSample(
            self.make_condition(images["condition"], transform),
            image_to_tensor(transform.apply(images["image"], _BICUBIC))
            if "image" in images
            else None,
            _transform_id_map(images["instance"], transform, torch.int32)
            if "instance" in images
            else None,
        )

    def validate_files(self, paths: FramePaths) -> None:
        self._open_images(paths)

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        if self.label_nc:
            return label_map_to_image(condition[0], self.label_nc)
        return tensor_to_image(condition.expand(3, -1, -1))

    def _open_images(self, paths: FramePaths) -> dict[str, Image.Image]:
        """By stream, of one size."""
        images = {stream: self._open_file(stream, path) for stream, path in paths.items()}
        check_same_size({paths[stream]: image.size for stream, image in images.items()})
        return images

    def _open_file(self, key: str, path: Path) -> Image.Image:
        if key == "instance":
            return _open_id_map(
                path, "instance ids are stored in one channel of 8, 16 or 32 bits: convert it"
            )
        if key == "condition" and self.label_nc:
            return self._check_and_remap_labels(
                path,
                _open_id_map(
                    path,
                    "a label map is one channel of ids: convert it, or drop --label_nc to use colours as they are",
                ),
            )
        return open_image(path)

    def _check_and_remap_labels(self, path: Path, image: Image.Image) -> Image.Image:
        """Ids 0..label_nc - 1, and label_nc where there is no label."""
        if self.ignore_label is None:
            return _check_labels(path, image, self.label_nc)
        pixels = np.asarray(image).astype(np.int32)
        unlabelled = pixels == self.ignore_label
        _check_labels(path, Image.fromarray(np.where(unlabelled, 0, pixels)), self.label_nc)
        return Image.fromarray(np.where(unlabelled, self.label_nc, pixels).astype(np.uint8))

    def make_condition(self, image: Image.Image, transform: FrameTransform) -> Tensor:
        """(1, H, W) ids, or (input_nc, H, W) bytes of an image."""
        if self.label_nc:
            return _transform_id_map(image, transform, torch.uint8)
        return image_to_tensor(
            transform.apply(image.convert("L") if self.input_nc == 1 else image, _BICUBIC)
        )


def _transform_id_map(image: Image.Image, transform: FrameTransform, dtype: torch.dtype) -> Tensor:
    return id_map_to_tensor(transform.apply(image, _NEAREST), dtype)


def _open_id_map(path: Path, remedy: str) -> Image.Image:
    """One channel of integers; a palette's indices, an alpha channel dropped."""
    image = open_image_unconverted(path)
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise UserError(f"{path}: holds {image.mode} colours; {remedy}")
    return image


def _check_labels(path: Path, image: Image.Image, label_nc: int) -> Image.Image:
    pixels = np.asarray(image)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high >= label_nc:
        raise UserError(
            f"{path}: holds label {low if low < 0 else high}; --label_nc {label_nc} allows "
            f"0..{label_nc - 1}: map other ids into that range, raise --label_nc, or give "
            f"--ignore_label {high} if that id means unlabelled"
        )
    return image
