"""Resize, crop and flip: planned once per clip as a value, applied to every map alike (SPEC 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from util.errors import UserError

if TYPE_CHECKING:
    from data.frame_reader import ReferenceFrame

ImageSize = tuple[int, int]  # (w, h)
Box = tuple[int, int, int, int]  # (left, top, right, bottom)

RESIZE_MODES = (
    "none",
    "resize",
    "scaleWidth",
    "scaleHeight",
    "randomScaleWidth",
    "randomScaleHeight",
)
CROP_MODES = ("crop", "scaledCrop")
_LOWERCASE_CROP_MODES = tuple(crop.lower() for crop in CROP_MODES)


@dataclass(frozen=True)
class TransformConfig:
    """load_size, fine_size: pixels, what the modes scale and crop to.

    resize_or_crop: one of SCALES, one of CROPS, or both joined by `_and_`; capital letters do not matter.
    flip: whether half of the clips are mirrored (training, not `no_flip`, not pose).
    """

    load_size: int
    fine_size: int
    resize_or_crop: str
    uses_flip: bool

    def __post_init__(self) -> None:
        known = [
            *RESIZE_MODES,
            *CROP_MODES,
            *(f"{scale}_and_{crop}" for scale in RESIZE_MODES for crop in CROP_MODES),
        ]
        if self._mode not in map(str.lower, known):
            raise UserError(
                f"--resize_or_crop {self.resize_or_crop}: unknown; expected one of {', '.join(RESIZE_MODES)}, "
                f"one of {', '.join(CROP_MODES)}, or both as in scaleWidth_and_crop"
            )
        if "random" in self._mode and self.fine_size > self.load_size + 1:
            raise UserError(
                f"--resize_or_crop {self.resize_or_crop} draws a side from fineSize to loadSize + 1, but "
                f"--fineSize {self.fine_size} is more than --loadSize {self.load_size}: swap them"
            )

    @property
    def _mode(self) -> str:
        return self.resize_or_crop.lower()

    @property
    def resize_mode(self) -> str:
        """The lower-case name of SCALES; `none` for a crop alone."""
        first = self._mode.split("_and_")[0]
        return "none" if first in _LOWERCASE_CROP_MODES else first

    @property
    def crop_mode(self) -> str | None:
        """The lower-case name of CROPS, if any."""
        last = self._mode.split("_and_")[-1]
        return last if last in _LOWERCASE_CROP_MODES else None

    @property
    def uses_resampling(self) -> bool:
        """`none` alone leaves every pixel as it is; the networks pad to the multiples that they need."""
        return self._mode != "none"


@dataclass(frozen=True)
class FrameTransform:
    """In this order: cut `box` (zero where it leaves the image), resize to `resize` (w, h), cut `crop`, mirror."""

    resize: ImageSize
    box: Box | None = None
    crop: Box | None = None
    is_flipped: bool = False

    @property
    def output_size(self) -> ImageSize:
        """(w, h) of what `apply` returns."""
        if self.crop is None:
            return self.resize
        left, top, right, bottom = self.crop
        return right - left, bottom - top

    def visible_region(self, original_size: ImageSize) -> tuple[float, float, float, float]:
        """(left, top, right, bottom): which part of images whose lead was of `original` size `apply` returns, in
        their pixels."""
        left, top, right, bottom = self.box or (0, 0, *original_size)
        x, y = (right - left) / self.resize[0], (bottom - top) / self.resize[1]
        crop = self.crop or (0, 0, *self.resize)
        return left + crop[0] * x, top + crop[1] * y, left + crop[2] * x, top + crop[3] * y

    def apply(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        """Any map of the clip, at the size that the plan's lead was read at."""
        if self.box is not None:
            image = image.crop(self.box)
        image = image.resize(self.resize, resample)
        if self.crop is not None:
            image = image.crop(self.crop)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.is_flipped else image


def sample_transform(
    reference: ReferenceFrame, config: TransformConfig, rng: np.random.Generator | None
) -> FrameTransform:
    """The geometry of a clip whose first image is `lead`.

    rng: training. Without it (test) nothing is drawn: every random value is the middle of its range, so crops are
    centred (y: the middle of the published range, which lies near the top) and nothing is mirrored.
    """
    if not config.uses_resampling:
        return FrameTransform(reference.size, reference.box, is_flipped=_sample_flip(config, rng))
    size = _compute_resize(reference.size, config, rng)
    size, crop = _compute_crop(size, reference.size, config, rng)
    return FrameTransform(size, reference.box, crop, _sample_flip(config, rng))


def _compute_resize(
    original_size: ImageSize, config: TransformConfig, rng: np.random.Generator | None
) -> ImageSize:
    w, h = original_size
    if config.resize_mode == "resize":
        return config.load_size, config.load_size
    if config.resize_mode == "none":
        return _round_to_multiple((w, h), 4, original_size, config)
    side = config.load_size
    if config.resize_mode.startswith("random"):
        side = _sample_uniform(rng, config.fine_size, config.load_size + 1)
    size = (side, side * h // w) if config.resize_mode.endswith("width") else (side * w // h, side)
    return _round_to_multiple(size, 4, original_size, config)


def _compute_crop(
    size: ImageSize,
    original_size: ImageSize,
    config: TransformConfig,
    rng: np.random.Generator | None,
) -> tuple[ImageSize, Box | None]:
    """What to resize to, and what to cut out of that."""
    if config.crop_mode is None:
        return (
            size
            if config.resize_mode == "resize"
            else _round_to_multiple(size, 32, original_size, config)
        ), None
    crop_w, crop_h = map(
        min,
        _round_to_multiple(_compute_crop_size(original_size, config), 32, original_size, config),
        size,
    )
    left, top = _sample_crop_corner(size, (crop_w, crop_h), rng)
    return size, (left, top, left + crop_w, top + crop_h)


def _compute_crop_size(original_size: ImageSize, config: TransformConfig) -> ImageSize:
    (w, h), side = original_size, config.fine_size
    if config.crop_mode == "crop":
        return side, side
    return (side, side * h // w) if "width" in config.resize_mode else (side * w // h, side)


def _sample_crop_corner(
    size: ImageSize, crop: ImageSize, rng: np.random.Generator | None
) -> tuple[int, int]:
    """x: normal around the centre, a third of the span its deviation. y: uniform in the top eighth."""
    (w, h), (crop_w, crop_h) = size, crop
    span = (w - crop_w) // 2
    normal = 0.0 if rng is None else rng.standard_normal()
    left = min(max(0, int(normal * span / 3 + span)), 2 * span)
    return left, _sample_uniform(rng, 0, min(h - crop_h, h // 8))


def _sample_uniform(rng: np.random.Generator | None, low: int, high: int) -> int:
    """low..high, both included."""
    return (low + high) // 2 if rng is None else int(rng.integers(low, high, endpoint=True))


def _sample_flip(config: TransformConfig, rng: np.random.Generator | None) -> bool:
    return config.uses_flip and rng is not None and bool(rng.random() < 0.5)


def _round_to_multiple(
    size: ImageSize, multiple: int, original_size: ImageSize, config: TransformConfig
) -> ImageSize:
    """Half to even, as published."""
    w, h = (round(side / multiple) * multiple for side in size)
    if not (w and h):
        raise UserError(
            f"an image of {original_size[0]}x{original_size[1]} comes to {size[0]}x{size[1]} with --resize_or_crop "
            f"{config.resize_or_crop} --loadSize {config.load_size} --fineSize {config.fine_size}, which "
            f"rounds to nothing in multiples of {multiple}: choose larger sizes or --resize_or_crop none"
        )
    return w, h
