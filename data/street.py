"""Street mode: label maps or images as conditions, one file per frame (dataset modes temporal, test)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.frame_reader import FolderSpec, FramePaths, FrameSample
from data.image_io import (
    check_same_size,
    id_map_to_tensor,
    image_to_tensor,
    open_image,
    open_image_unconverted,
    read_image_size,
)
from data.transforms import FrameTransform, ReferenceFrame
from util.errors import UserError
from util.images.normalization import PixelNormalization, normalize_to_pm1
from util.images.visualization import label_map_to_image, tensor_to_image

_NEAREST, _BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class StreetFrameReader:
    """Implements `data.frame_reader.FrameReader` with the keys `condition`, `image`, `instance`.

    Attributes:
        label_nc: number of labels: the condition is a map of ids 0..label_nc - 1. 0: it is an image.
        input_nc: channels of a condition without labels: 3 (RGB) or 1 (gray).
        use_instance: whether a third folder holds instance ids of 8, 16 or 32 bits.
        ignore_label: an additional id that means unlabeled. Its pixels get the id label_nc, for
            which the one-hot encoding has no channel.
    """

    label_nc: int
    input_nc: int
    use_instance: bool
    ignore_label: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_nc <= 256:
            raise UserError(
                f"--label_nc {self.label_nc}: expected 0 (no labels) to 256, ids are stored in 8 bits"
            )
        if not self.label_nc and self.input_nc not in (1, 3):
            raise UserError(
                f"--input_nc {self.input_nc}: a condition without --label_nc is gray (1) or RGB (3)"
            )

    @property
    def normalization(self) -> PixelNormalization | None:
        """None for label ids; RGB and gray conditions are in [-1, 1]."""
        return None if self.label_nc else normalize_to_pm1

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        """Return the folders A, B (if images are used) and inst (if instances are used)."""
        specs = {"condition": FolderSpec("A")}
        if uses_images:
            specs["image"] = FolderSpec("B")
        if self.use_instance:
            specs["instance"] = FolderSpec("inst")
        return specs

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        """Return the size of the image in training and of the condition in test."""
        key = "image" if is_train and "image" in paths else "condition"
        return ReferenceFrame(read_image_size(paths[key]))

    def read_frame(
        self, paths: FramePaths, transform: FrameTransform, rng: np.random.Generator | None
    ) -> FrameSample:
        """Return one frame. Images are resized bicubic, id maps nearest; `rng` is not used."""
        images = self._open_images(paths)
        condition = self.make_condition(images["condition"], transform)
        image, instance = None, None
        if "image" in images:
            image = image_to_tensor(transform.apply(images["image"], _BICUBIC))
        if "instance" in images:
            instance = _transform_id_map(images["instance"], transform, torch.int32)
        return FrameSample(condition, image, instance)

    def validate_files(self, paths: FramePaths) -> None:
        """Open all files and check their formats, labels and sizes."""
        self._open_images(paths)

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """Return label ids in the colors of their palette, or the condition image itself."""
        if self.label_nc:
            return label_map_to_image(condition[0], self.label_nc)
        return tensor_to_image(condition.expand(3, -1, -1))

    def make_condition(self, image: Image.Image, transform: FrameTransform) -> Tensor:
        """Return the transformed condition: (1, H, W) ids or (input_nc, H, W) pixels, uint8."""
        if self.label_nc:
            return _transform_id_map(image, transform, torch.uint8)
        if self.input_nc == 1:
            image = image.convert("L")
        return image_to_tensor(transform.apply(image, _BICUBIC))

    def _open_images(self, paths: FramePaths) -> dict[str, Image.Image]:
        images = {key: self._open_file(key, path) for key, path in paths.items()}
        check_same_size({paths[key]: image.size for key, image in images.items()})
        return images

    def _open_file(self, key: str, path: Path) -> Image.Image:
        if key == "instance":
            return _open_id_map(
                path, "instance ids are stored in one channel of 8, 16 or 32 bits: convert it"
            )
        if key == "condition" and self.label_nc:
            label_map = _open_id_map(
                path,
                "a label map is one channel of ids: convert it, or drop --label_nc to use colors as they are",
            )
            return self._check_and_remap_labels(path, label_map)
        return open_image(path)

    def _check_and_remap_labels(self, path: Path, label_map: Image.Image) -> Image.Image:
        """Return ids 0..label_nc - 1, and label_nc for unlabeled pixels."""
        if self.ignore_label is None:
            _check_labels(path, np.asarray(label_map), self.label_nc)
            return label_map
        ids = np.asarray(label_map).astype(np.int32)
        is_unlabeled = ids == self.ignore_label
        _check_labels(path, np.where(is_unlabeled, 0, ids), self.label_nc)
        return Image.fromarray(np.where(is_unlabeled, self.label_nc, ids).astype(np.uint8))


def _transform_id_map(id_map: Image.Image, transform: FrameTransform, dtype: torch.dtype) -> Tensor:
    return id_map_to_tensor(transform.apply(id_map, _NEAREST), dtype)


def _open_id_map(path: Path, remedy: str) -> Image.Image:
    """Open a single-channel map of integers; an alpha channel is dropped, a palette ignored."""
    image = open_image_unconverted(path)
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise UserError(f"{path}: holds {image.mode} colors; {remedy}")
    return image


def _check_labels(path: Path, ids: np.ndarray, label_nc: int) -> None:
    low, high = int(ids.min()), int(ids.max())
    if low >= 0 and high < label_nc:
        return
    raise UserError(
        f"{path}: holds label {low if low < 0 else high}; --label_nc {label_nc} allows 0..{label_nc - 1}: "
        f"map other ids into that range, raise --label_nc, or give --ignore_label {high} if that id "
        "means unlabeled"
    )
