"""Street scenes, and any other footage with a condition picture for each frame (modes temporal and test)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.domain import FrameMaps, FramePaths, Lead, Stream
from data.geometry import Geometry
from data.pictures import check_same_size, map_tensor, open_map, open_picture, picture_size, picture_tensor
from util.errors import UserError
from util.levels import Levels, signed
from util.pictures import label_picture, to_uint8

NEAREST, BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Street:
    """Fulfils `data.domain.Domain`.

    label_nc: A holds label ids 0..label_nc - 1; 0: A is a colour (input_nc 3) or grey (input_nc 1) picture.
    use_instance: a third folder holds instance ids of 8, 16 or 32 bits.
    ignore_label: an id beyond those that means unlabelled. Such pixels come as id label_nc, which has no channel.
    """

    label_nc: int
    input_nc: int
    use_instance: bool
    ignore_label: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_nc <= 256:
            raise UserError(f"--label_nc {self.label_nc}: expected 0 (no labels) to 256, ids are kept in 8 bits")
        if not self.label_nc and self.input_nc not in (1, 3):
            raise UserError(f"--input_nc {self.input_nc}: a condition without --label_nc is grey (1) or RGB (3)")

    @property
    def levels(self) -> Levels | None:
        return None if self.label_nc else signed

    def streams(self, picture: bool) -> dict[str, Stream]:
        streams = {"condition": Stream("A")}
        if picture:
            streams["picture"] = Stream("B")
        if self.use_instance:
            streams["instance"] = Stream("inst")
        return streams

    def lead(self, paths: FramePaths, train: bool) -> Lead:
        return Lead(picture_size(paths["picture" if train and "picture" in paths else "condition"]))

    def read(self, paths: FramePaths, geometry: Geometry, rng: np.random.Generator | None) -> FrameMaps:
        images = self._images(paths)
        return FrameMaps(
            self.condition(images["condition"], geometry),
            picture_tensor(geometry.apply(images["picture"], BICUBIC)) if "picture" in images else None,
            _ids(images["instance"], geometry, torch.int32) if "instance" in images else None)

    def check(self, paths: FramePaths) -> None:
        self._images(paths)

    def show(self, condition: Tensor) -> np.ndarray:
        if self.label_nc:
            return label_picture(condition[0], self.label_nc)
        return to_uint8(condition.expand(3, -1, -1))

    def _images(self, paths: FramePaths) -> dict[str, Image.Image]:
        """By stream, of one size."""
        images = {stream: self._open(stream, path) for stream, path in paths.items()}
        check_same_size({paths[stream]: image.size for stream, image in images.items()})
        return images

    def _open(self, stream: str, path: Path) -> Image.Image:
        if stream == "instance":
            return _open_ids(path, "instance ids are stored in one channel of 8, 16 or 32 bits: convert it")
        if stream == "condition" and self.label_nc:
            return self._labels(path, _open_ids(
                path, "a label map is one channel of ids: convert it, or drop --label_nc to use colours as they are"))
        return open_picture(path)

    def _labels(self, path: Path, image: Image.Image) -> Image.Image:
        """Ids 0..label_nc - 1, and label_nc where there is no label."""
        if self.ignore_label is None:
            return _check_labels(path, image, self.label_nc)
        pixels = np.asarray(image).astype(np.int32)
        unlabelled = pixels == self.ignore_label
        _check_labels(path, Image.fromarray(np.where(unlabelled, 0, pixels)), self.label_nc)
        return Image.fromarray(np.where(unlabelled, self.label_nc, pixels).astype(np.uint8))

    def condition(self, image: Image.Image, geometry: Geometry) -> Tensor:
        """(1, H, W) ids, or (input_nc, H, W) bytes of a picture."""
        if self.label_nc:
            return _ids(image, geometry, torch.uint8)
        return picture_tensor(geometry.apply(image.convert("L") if self.input_nc == 1 else image, BICUBIC))


def _ids(image: Image.Image, geometry: Geometry, dtype: torch.dtype) -> Tensor:
    return map_tensor(geometry.apply(image, NEAREST), dtype)


def _open_ids(path: Path, remedy: str) -> Image.Image:
    """One channel of integers; a palette's indices, an alpha channel dropped."""
    image = open_map(path)
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise UserError(f"{path}: holds {image.mode} colours; {remedy}")
    return image


def _check_labels(path: Path, image: Image.Image, label_nc: int) -> Image.Image:
    pixels = np.asarray(image)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high >= label_nc:
        raise UserError(f"{path}: holds label {low if low < 0 else high}; --label_nc {label_nc} allows "
                        f"0..{label_nc - 1}: map other ids into that range, raise --label_nc, or give "
                        f"--ignore_label {high} if that id means unlabelled")
    return image
