"""Resize, crop and flip: sampled once per clip, then applied to every image and map of the clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from util.errors import UserError

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
_LOWERCASE_CROP_MODES = tuple(mode.lower() for mode in CROP_MODES)


@dataclass(frozen=True)
class TransformConfig:
    """The options from which a transform is computed.

    Attributes:
        load_size: side in pixels to which the resize modes scale.
        fine_size: side in pixels of crops, and lower bound of the random resize modes.
        resize_or_crop: one of `RESIZE_MODES`, one of `CROP_MODES`, or both joined by `_and_`.
            Case-insensitive.
        uses_flip: whether half of the training clips are mirrored (not `--no_flip`, not pose).
    """

    load_size: int
    fine_size: int
    resize_or_crop: str
    uses_flip: bool

    def __post_init__(self) -> None:
        combined = [f"{resize}_and_{crop}" for resize in RESIZE_MODES for crop in CROP_MODES]
        valid_modes = [*RESIZE_MODES, *CROP_MODES, *combined]
        if self._mode not in [mode.lower() for mode in valid_modes]:
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
        """The resize mode in lower case; `none` if only a crop mode is set."""
        first = self._mode.split("_and_")[0]
        return "none" if first in _LOWERCASE_CROP_MODES else first

    @property
    def crop_mode(self) -> str | None:
        """The crop mode in lower case; None if there is no crop."""
        last = self._mode.split("_and_")[-1]
        return last if last in _LOWERCASE_CROP_MODES else None

    @property
    def uses_resampling(self) -> bool:
        """False for `none` alone, which keeps every pixel.

        The size is then not rounded either; the networks pad to the multiples that they need.
        """
        return self._mode != "none"


@dataclass(frozen=True)
class ReferenceFrame:
    """What a transform is computed from: the first frame of a clip.

    Attributes:
        size: (w, h) of the image after `box` was cut out of it.
        box: (left, top, right, bottom) to cut before anything else, in pixels. May extend beyond
            the image; the outside is black. None: the whole image.
    """

    size: ImageSize
    box: Box | None = None


@dataclass(frozen=True)
class FrameTransform:
    """A transform of images and maps: cut `box`, resize, cut `crop`, mirror, in this order.

    Attributes:
        resize: (w, h) to resize to.
        box: region to cut before resizing; None: the whole image.
        crop: region to cut after resizing; None: all of it.
        is_flipped: whether to mirror horizontally.
    """

    resize: ImageSize
    box: Box | None = None
    crop: Box | None = None
    is_flipped: bool = False

    @property
    def output_size(self) -> ImageSize:
        """(w, h) of the images that `apply` returns."""
        if self.crop is None:
            return self.resize
        left, top, right, bottom = self.crop
        return right - left, bottom - top

    def visible_region(self, original_size: ImageSize) -> tuple[float, float, float, float]:
        """Return the (left, top, right, bottom) of the input that `apply` keeps, in its pixels.

        Args:
            original_size: (w, h) of the input; unused if the transform has a `box`.
        """
        left, top, right, bottom = self.box or (0, 0, *original_size)
        crop_left, crop_top, crop_right, crop_bottom = self.crop or (0, 0, *self.resize)
        scale_x = (right - left) / self.resize[0]
        scale_y = (bottom - top) / self.resize[1]
        return (
            left + crop_left * scale_x,
            top + crop_top * scale_y,
            left + crop_right * scale_x,
            top + crop_bottom * scale_y,
        )

    def apply(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        """Transform an image or map that has the size of the clip's reference frame."""
        if self.box is not None:
            image = image.crop(self.box)
        image = image.resize(self.resize, resample)
        if self.crop is not None:
            image = image.crop(self.crop)
        if self.is_flipped:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image


def sample_transform(
    reference: ReferenceFrame, config: TransformConfig, rng: np.random.Generator | None
) -> FrameTransform:
    """Sample the transform of a clip.

    Args:
        reference: the clip's first frame.
        config: resize and crop modes and sizes.
        rng: random generator in training. None in test: every random value is then the middle of
            its range and nothing is mirrored. Crops are horizontally centered; vertically they are
            near the top, since the middle of the published range lies there.
    """
    # The order of the random draws is fixed: scale, crop x, crop y, flip.
    if not config.uses_resampling:
        is_flipped = _sample_flip(config, rng)
        return FrameTransform(reference.size, reference.box, is_flipped=is_flipped)
    size = _compute_resize(reference.size, config, rng)
    size, crop = _compute_crop(size, reference.size, config, rng)
    is_flipped = _sample_flip(config, rng)
    return FrameTransform(size, reference.box, crop, is_flipped)


def _compute_resize(
    original_size: ImageSize, config: TransformConfig, rng: np.random.Generator | None
) -> ImageSize:
    if config.resize_mode == "resize":
        # as published: this mode alone rounds to no multiple.
        return config.load_size, config.load_size
    if config.resize_mode == "none":
        return _round_to_multiple(original_size, 4, original_size, config)
    side = config.load_size
    if config.resize_mode.startswith("random"):
        # as published: the range includes loadSize + 1.
        side = _sample_uniform(rng, config.fine_size, config.load_size + 1)
    size = _scale_to_side(original_size, side, is_width=config.resize_mode.endswith("width"))
    # as published: sides are first rounded to multiples of 4 and, without a crop, then to multiples
    # of 32 (`_compute_crop`). Rounding once can give another size: 465 -> 464 -> 448, not 480.
    return _round_to_multiple(size, 4, original_size, config)


def _compute_crop(
    size: ImageSize,
    original_size: ImageSize,
    config: TransformConfig,
    rng: np.random.Generator | None,
) -> tuple[ImageSize, Box | None]:
    """Return the size to resize to, and the region to cut out of the result."""
    if config.crop_mode is None:
        if config.resize_mode != "resize":
            size = _round_to_multiple(size, 32, original_size, config)
        return size, None
    crop_w, crop_h = _round_to_multiple(
        _compute_crop_size(original_size, config), 32, original_size, config
    )
    # A crop never exceeds the resized image, whose sides need not be multiples of 32.
    crop_w, crop_h = min(crop_w, size[0]), min(crop_h, size[1])
    left, top = _sample_crop_corner(size, (crop_w, crop_h), rng)
    return size, (left, top, left + crop_w, top + crop_h)


def _compute_crop_size(original_size: ImageSize, config: TransformConfig) -> ImageSize:
    side = config.fine_size
    if config.crop_mode == "crop":
        return side, side
    # as published: without "width" in the mode, and so also without any scaling, `scaledCrop` sets
    # the height. The aspect ratio is that of the original image, before resizing.
    return _scale_to_side(original_size, side, is_width="width" in config.resize_mode)


def _scale_to_side(size: ImageSize, side: int, is_width: bool) -> ImageSize:
    """Scale a size so that its width or height becomes `side`; the other side is rounded down."""
    w, h = size
    if is_width:
        return side, side * h // w
    return side * w // h, side


def _sample_crop_corner(
    size: ImageSize, crop: ImageSize, rng: np.random.Generator | None
) -> tuple[int, int]:
    w, h = size
    crop_w, crop_h = crop
    # as published: x is normally distributed around the center. `span` is half of the free width,
    # the standard deviation a third of it; outliers are clamped.
    span = (w - crop_w) // 2
    normal = 0.0 if rng is None else rng.standard_normal()
    left = min(max(0, int(normal * span / 3 + span)), 2 * span)
    # as published: y is uniform, but in the top eighth of the image only.
    top = _sample_uniform(rng, 0, min(h - crop_h, h // 8))
    return left, top


def _sample_uniform(rng: np.random.Generator | None, low: int, high: int) -> int:
    """Return an integer in low..high, both included; the middle if `rng` is None."""
    return (low + high) // 2 if rng is None else int(rng.integers(low, high, endpoint=True))


def _sample_flip(config: TransformConfig, rng: np.random.Generator | None) -> bool:
    return config.uses_flip and rng is not None and bool(rng.random() < 0.5)


def _round_to_multiple(
    size: ImageSize, multiple: int, original_size: ImageSize, config: TransformConfig
) -> ImageSize:
    # as published: Python's round, half to even. 80 is 2.5 * 32 and becomes 64.
    w, h = (round(side / multiple) * multiple for side in size)
    if w == 0 or h == 0:
        raise UserError(
            f"an image of {original_size[0]}x{original_size[1]} comes to {size[0]}x{size[1]} with --resize_or_crop "
            f"{config.resize_or_crop} --loadSize {config.load_size} --fineSize {config.fine_size}, which rounds "
            f"to zero in multiples of {multiple}: choose larger sizes or --resize_or_crop none"
        )
    return w, h
