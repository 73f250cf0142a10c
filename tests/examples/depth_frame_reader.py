"""Example of a dataset mode: the condition is a depth map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.frame_reader import FolderSpec, FramePaths, FrameSample, ReferenceFrame
from data.image_io import check_same_size, image_to_tensor, open_image, open_image_unconverted
from data.transforms import FrameTransform
from util.errors import UserError
from util.images.normalization import PixelNormalization, normalize_to_pm1


@dataclass(frozen=True)
class DepthFrameReader:
    """Reads `{phase}_depth/SEQ/*.png` (16-bit millimeters) and `{phase}_img/SEQ/*`.

    Attributes:
        max_depth: Depth in millimeters that becomes the largest value of the condition.
    """

    max_depth: int = 10_000

    @property
    def normalization(self) -> PixelNormalization | None:
        """The condition's bytes become float32 in [-1, 1] on the device."""
        return normalize_to_pm1

    def folder_specs(self, uses_images: bool) -> dict[str, FolderSpec]:
        """Return the folders to read; the first one names the frames."""
        specs = {"condition": FolderSpec("depth", suffixes=(".png",))}
        if uses_images:
            specs["image"] = FolderSpec("img")
        return specs

    def read_reference_frame(self, paths: FramePaths, is_train: bool) -> ReferenceFrame:
        """Return the size from which resize and crop of a whole clip are planned."""
        return ReferenceFrame(_open_depth(paths["condition"]).size)

    def read_frame(
        self, paths: FramePaths, transform: FrameTransform, rng: np.random.Generator | None
    ) -> FrameSample:
        """Read one frame and apply the clip's transform to both of its files."""
        depth = np.asarray(_open_depth(paths["condition"])).astype(np.float64)
        gray = Image.fromarray((depth / self.max_depth * 255).clip(0, 255).astype(np.uint8))
        condition = np.array(transform.apply(gray, Image.Resampling.NEAREST))
        image = None
        if "image" in paths:
            photo = open_image(paths["image"])
            check_same_size({paths["condition"]: gray.size, paths["image"]: photo.size})
            image = image_to_tensor(transform.apply(photo, Image.Resampling.BICUBIC))
        return FrameSample(torch.from_numpy(condition)[None], image, instance=None)

    def validate_files(self, paths: FramePaths) -> None:
        """Raise UserError for a file that `read_frame` would refuse."""
        sizes = {paths["condition"]: _open_depth(paths["condition"]).size}
        if "image" in paths:
            sizes[paths["image"]] = open_image(paths["image"]).size
        check_same_size(sizes)

    def condition_to_image(self, condition: Tensor) -> np.ndarray:
        """Return the condition (1, H, W) uint8 as an RGB image (H, W, 3) for pages and results."""
        return condition.expand(3, -1, -1).permute(1, 2, 0).numpy()


def _open_depth(path: Path) -> Image.Image:
    image = open_image_unconverted(path)
    if not image.mode.startswith("I"):
        raise UserError(f"{path}: {image.mode} image; expected a depth map in 16-bit gray")
    return image
