"""Resize, crop and flip: planned once per clip as a value, applied to every map alike (SPEC 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from util.errors import UserError

if TYPE_CHECKING:
    from data.domain import Lead

Size = tuple[int, int]  # (w, h)
Box = tuple[int, int, int, int]  # (left, top, right, bottom)

SCALES = ("none", "resize", "scaleWidth", "scaleHeight", "randomScaleWidth", "randomScaleHeight")
CROPS = ("crop", "scaledCrop")
_CROPS = tuple(crop.lower() for crop in CROPS)


@dataclass(frozen=True)
class GeometryConfig:
    """load_size, fine_size: pixels, what the modes scale and crop to.

    resize_or_crop: one of SCALES, one of CROPS, or both joined by `_and_`; capital letters do not matter.
    flip: whether half of the clips are mirrored (training, not `no_flip`, not pose).
    """

    load_size: int
    fine_size: int
    resize_or_crop: str
    flip: bool

    def __post_init__(self) -> None:
        known = [*SCALES, *CROPS, *(f"{scale}_and_{crop}" for scale in SCALES for crop in CROPS)]
        if self._mode not in map(str.lower, known):
            raise UserError(f"--resize_or_crop {self.resize_or_crop}: unknown; expected one of {', '.join(SCALES)}, "
                            f"one of {', '.join(CROPS)}, or both as in scaleWidth_and_crop")
        if "random" in self._mode and self.fine_size > self.load_size + 1:
            raise UserError(f"--resize_or_crop {self.resize_or_crop} draws a side from fineSize to loadSize + 1, but "
                            f"--fineSize {self.fine_size} is more than --loadSize {self.load_size}: swap them")

    @property
    def _mode(self) -> str:
        return self.resize_or_crop.lower()

    @property
    def scale(self) -> str:
        """The lower-case name of SCALES; `none` for a crop alone."""
        first = self._mode.split("_and_")[0]
        return "none" if first in _CROPS else first

    @property
    def crop(self) -> str | None:
        """The lower-case name of CROPS, if any."""
        last = self._mode.split("_and_")[-1]
        return last if last in _CROPS else None

    @property
    def resamples(self) -> bool:
        """`none` alone leaves every pixel as it is; the networks pad to the multiples that they need."""
        return self._mode != "none"


@dataclass(frozen=True)
class Geometry:
    """In this order: cut `box` (zero where it leaves the picture), resize to `resize` (w, h), cut `crop`, mirror."""

    resize: Size
    box: Box | None = None
    crop: Box | None = None
    flip: bool = False

    @property
    def size(self) -> Size:
        """(w, h) of what `apply` returns."""
        if self.crop is None:
            return self.resize
        left, top, right, bottom = self.crop
        return right - left, bottom - top

    def shown(self, original: Size) -> tuple[float, float, float, float]:
        """(left, top, right, bottom): which part of pictures whose lead was of `original` size `apply` returns, in
        their pixels."""
        left, top, right, bottom = self.box or (0, 0, *original)
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
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else image


def plan_geometry(lead: Lead, config: GeometryConfig, rng: np.random.Generator | None) -> Geometry:
    """The geometry of a clip whose first picture is `lead`.

    rng: training. Without it (test) nothing is drawn: every random value is the middle of its range, so crops are
    centred (y: the middle of the published range, which lies near the top) and nothing is mirrored.
    """
    if not config.resamples:
        return Geometry(lead.size, lead.box, flip=_flips(config, rng))
    size = _scaled(lead.size, config, rng)
    size, crop = _cropped(size, lead.size, config, rng)
    return Geometry(size, lead.box, crop, _flips(config, rng))


def _scaled(original: Size, config: GeometryConfig, rng: np.random.Generator | None) -> Size:
    w, h = original
    if config.scale == "resize":
        return config.load_size, config.load_size
    if config.scale == "none":
        return _rounded((w, h), 4, original, config)
    side = config.load_size
    if config.scale.startswith("random"):
        side = _uniform(rng, config.fine_size, config.load_size + 1)
    size = (side, side * h // w) if config.scale.endswith("width") else (side * w // h, side)
    return _rounded(size, 4, original, config)


def _cropped(size: Size, original: Size, config: GeometryConfig, rng: np.random.Generator | None
             ) -> tuple[Size, Box | None]:
    """What to resize to, and what to cut out of that."""
    if config.crop is None:
        return (size if config.scale == "resize" else _rounded(size, 32, original, config)), None
    crop_w, crop_h = map(min, _rounded(_crop_size(original, config), 32, original, config), size)
    left, top = _crop_corner(size, (crop_w, crop_h), rng)
    return size, (left, top, left + crop_w, top + crop_h)


def _crop_size(original: Size, config: GeometryConfig) -> Size:
    (w, h), side = original, config.fine_size
    if config.crop == "crop":
        return side, side
    return (side, side * h // w) if "width" in config.scale else (side * w // h, side)


def _crop_corner(size: Size, crop: Size, rng: np.random.Generator | None) -> tuple[int, int]:
    """x: normal around the centre, a third of the span its deviation. y: uniform in the top eighth."""
    (w, h), (crop_w, crop_h) = size, crop
    span = (w - crop_w) // 2
    normal = 0.0 if rng is None else rng.standard_normal()
    left = min(max(0, int(normal * span / 3 + span)), 2 * span)
    return left, _uniform(rng, 0, min(h - crop_h, h // 8))


def _uniform(rng: np.random.Generator | None, low: int, high: int) -> int:
    """low..high, both included."""
    return (low + high) // 2 if rng is None else int(rng.integers(low, high, endpoint=True))


def _flips(config: GeometryConfig, rng: np.random.Generator | None) -> bool:
    return config.flip and rng is not None and bool(rng.random() < 0.5)


def _rounded(size: Size, multiple: int, original: Size, config: GeometryConfig) -> Size:
    """Half to even, as published."""
    w, h = (round(side / multiple) * multiple for side in size)
    if not (w and h):
        raise UserError(f"a picture of {original[0]}x{original[1]} comes to {size[0]}x{size[1]} with --resize_or_crop "
                        f"{config.resize_or_crop} --loadSize {config.load_size} --fineSize {config.fine_size}, which "
                        f"rounds to nothing in multiples of {multiple}: choose larger sizes or --resize_or_crop none")
    return w, h
