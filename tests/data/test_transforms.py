"""Tests of transforms: sizes computed by hand, and properties for every image and random draw."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from data.transforms import (
    CROP_MODES,
    RESIZE_MODES,
    FrameTransform,
    ReferenceFrame,
    TransformConfig,
    sample_transform,
)
from util.errors import UserError

NEAREST = Image.Resampling.NEAREST
SIDES = st.integers(64, 700)
MODES = st.sampled_from(
    [*RESIZE_MODES, *CROP_MODES, *(f"{s}_and_{c}" for s in RESIZE_MODES for c in CROP_MODES)]
)


def sample(
    size: tuple[int, int], mode: str, load: int = 512, fine: int = 512, seed: int | None = None
) -> FrameTransform:
    """Sample the transform of an image; seed None: as in test."""
    rng = None if seed is None else np.random.default_rng(seed)
    return sample_transform(
        ReferenceFrame(size), TransformConfig(load, fine, mode, uses_flip=False), rng
    )


@pytest.mark.parametrize(
    ("size", "mode", "load", "expected"),
    [
        ((2048, 1024), "scaleWidth", 512, (512, 256)),
        ((1280, 720), "scaleWidth", 512, (512, 288)),
        # 455 -> 456 -> 448: rounded to a multiple of 4 first.
        ((1280, 720), "scaleHeight", 256, (448, 256)),
        ((1280, 720), "ScaleHeight", 256, (448, 256)),
        # 82 = 20.5 * 4 -> 80 = 2.5 * 32 -> 64: half rounds to even.
        ((100, 90), "scaleWidth", 82, (64, 64)),
        ((620, 461), "none", 512, (620, 461)),
        ((620, 461), "resize", 511, (511, 511)),
    ],
)
def test_sizes_match_hand_computed_values(
    size: tuple[int, int], mode: str, load: int, expected: tuple[int, int]
) -> None:
    assert sample(size, mode, load).output_size == expected


@pytest.mark.parametrize(
    ("size", "mode", "resize", "crop"),
    [
        ((2048, 1024), "crop", (2048, 1024), (1024, 1024)),
        # 462 = 115.5 * 4 -> 464. The crop is not larger than the image.
        ((621, 462), "crop", (620, 464), (620, 464)),
        ((2048, 1024), "scaledCrop", (2048, 1024), (2048, 1024)),
        ((1024, 768), "scaleWidth_and_scaledCrop", (1536, 1152), (1024, 768)),
        # 2730 = 682.5 * 4 -> 2728.
        ((1920, 1080), "scaleHeight_and_scaledCrop", (2728, 1536), (1824, 1024)),
        ((1920, 1080), "resize_and_crop", (1536, 1536), (1024, 1024)),
    ],
)
def test_crops_match_hand_computed_values(
    size: tuple[int, int], mode: str, resize: tuple[int, int], crop: tuple[int, int]
) -> None:
    transform = sample(size, mode, 1536, 1024)
    assert (transform.resize, transform.output_size) == (resize, crop)


@given(SIDES, SIDES, MODES, SIDES, SIDES, st.integers(0, 99))
def test_every_sampled_transform_fits_the_image(
    w: int, h: int, mode: str, load: int, fine: int, seed: int
) -> None:
    assume(w < 3 * h < 9 * w)
    fine = min(fine, load)
    transform = sample((w, h), mode, load, fine, seed)
    if mode == "none":
        assert transform.output_size == (w, h)
    elif "resize" not in mode:
        multiple = 32 if transform.crop is None else 4
        assert all(side % multiple == 0 for side in transform.resize)
    if transform.crop is not None:
        left, top, right, bottom = transform.crop
        assert 0 <= left < right <= transform.resize[0]
        assert 0 <= top < bottom <= transform.resize[1]
        assert top <= transform.resize[1] // 8
        for side, limit in zip(transform.output_size, transform.resize, strict=True):
            assert side % 32 == 0 or side == limit


@given(SIDES, SIDES, MODES, st.integers(0, 99))
def test_same_seed_gives_the_same_transform_and_test_uses_no_randomness(
    w: int, h: int, mode: str, seed: int
) -> None:
    assume(w < 3 * h < 9 * w)
    assert sample((w, h), mode, 300, 200, seed) == sample((w, h), mode, 300, 200, seed)
    assert sample((w, h), mode, 300, 200) == sample((w, h), mode, 300, 200)


def test_random_scale_covers_its_whole_range() -> None:
    sides = {
        sample((512, 512), "randomScaleWidth_and_crop", 162, 128, seed).resize[0]
        for seed in range(600)
    }
    # 164 is the rounded 163 = loadSize + 1, the published upper bound.
    assert sides == set(range(128, 165, 4))


def test_crops_are_centered_horizontally_and_near_the_top() -> None:
    crops = np.array([sample((800, 800), "crop", fine=384, seed=seed).crop for seed in range(500)])
    span = (800 - 384) // 2
    assert abs(crops[:, 0].mean() - span) < span / 12
    assert abs(crops[:, 0].std() - span / 3) < span / 12
    assert (crops[:, 1].min(), crops[:, 1].max()) == (0, 100)


def test_test_transform_uses_the_middle_of_every_range() -> None:
    assert sample((800, 800), "crop", fine=384).crop == (208, 50, 592, 434)
    # The middle of 128..161 is 144 = 4.5 * 32 -> 128.
    assert sample((512, 512), "randomScaleWidth", 160, 128).output_size == (128, 128)


def test_half_of_training_clips_and_no_test_clips_are_flipped() -> None:
    config = TransformConfig(64, 64, "none", uses_flip=True)
    flips = [
        sample_transform(ReferenceFrame((64, 64)), config, np.random.default_rng(s)).is_flipped
        for s in range(200)
    ]
    assert 70 < sum(flips) < 130
    assert not sample_transform(ReferenceFrame((64, 64)), config, None).is_flipped
    assert not any(sample((64, 64), "none", seed=s).is_flipped for s in range(20))


def test_apply_cuts_resizes_crops_and_flips_in_that_order() -> None:
    ids = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    cut = np.zeros((4, 4), np.uint8)
    cut[1:, :3] = ids[:, 1:]  # the box starts one column inside and one row above the image
    resized = cut.repeat(2, axis=0).repeat(2, axis=1)
    transform = FrameTransform(resize=(8, 8), box=(1, -1, 5, 3), crop=(1, 2, 7, 6), is_flipped=True)
    output = transform.apply(Image.fromarray(ids), NEAREST)
    assert np.array_equal(output, resized[2:6, 1:7][:, ::-1])
    assert transform.output_size == (6, 4)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I", "I;16", "1"])
def test_apply_accepts_every_pillow_mode_of_maps(mode: str) -> None:
    transform = FrameTransform(
        resize=(8, 8), box=(-1, -1, 3, 3), crop=(1, 2, 7, 6), is_flipped=True
    )
    assert transform.apply(Image.new(mode, (4, 4)), NEAREST).size == transform.output_size


@pytest.mark.parametrize(
    ("mode", "load", "fine", "message"),
    [
        ("scaleWidht", 512, 512, "--resize_or_crop scaleWidht: unknown"),
        ("", 512, 512, "unknown"),
        ("randomScaleWidth", 256, 512, "--fineSize 512 is more than --loadSize 256"),
    ],
)
def test_impossible_settings_are_refused(mode: str, load: int, fine: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TransformConfig(load, fine, mode, uses_flip=False)


def test_size_that_rounds_to_zero_is_refused() -> None:
    with pytest.raises(UserError, match="3000x60 comes to 512x8"):
        sample((3000, 60), "scaleWidth")
