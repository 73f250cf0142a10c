"""SPEC 3 in figures worked by hand, and properties that hold for every image and every draw."""

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


def plan(
    size: tuple[int, int], mode: str, load: int = 512, fine: int = 512, seed: int | None = None
) -> FrameTransform:
    rng = None if seed is None else np.random.default_rng(seed)
    return sample_transform(
        ReferenceFrame(size), TransformConfig(load, fine, mode, uses_flip=False), rng
    )


@pytest.mark.parametrize(
    ("size", "mode", "load", "expected"),
    [
        ((2048, 1024), "scaleWidth", 512, (512, 256)),
        ((1280, 720), "scaleWidth", 512, (512, 288)),
        (
            (1280, 720),
            "scaleHeight",
            256,
            (448, 256),
        ),  # 455 -> 456 -> 448: the multiples of 4 come first
        ((1280, 720), "ScaleHeight", 256, (448, 256)),
        (
            (100, 90),
            "scaleWidth",
            82,
            (64, 64),
        ),  # 82 -> 80 (20.5 is even at 20) -> 64 (2.5 is even at 2)
        ((620, 461), "none", 512, (620, 461)),
        ((620, 461), "resize", 511, (511, 511)),
    ],
)
def test_sizes_match_hand_computed_values(
    size: tuple[int, int], mode: str, load: int, expected: tuple[int, int]
) -> None:
    assert plan(size, mode, load).output_size == expected


@pytest.mark.parametrize(
    ("size", "mode", "resize", "crop"),
    [
        ((2048, 1024), "crop", (2048, 1024), (1024, 1024)),
        (
            (621, 462),
            "crop",
            (620, 464),
            (620, 464),
        ),  # 115.5 is even at 116; no crop exceeds the image
        ((2048, 1024), "scaledCrop", (2048, 1024), (2048, 1024)),
        ((1024, 768), "scaleWidth_and_scaledCrop", (1536, 1152), (1024, 768)),
        (
            (1920, 1080),
            "scaleHeight_and_scaledCrop",
            (2728, 1536),
            (1824, 1024),
        ),  # 2730: 682.5 is even at 682
        ((1920, 1080), "resize_and_crop", (1536, 1536), (1024, 1024)),
    ],
)
def test_crops_match_hand_computed_values(
    size: tuple[int, int], mode: str, resize: tuple[int, int], crop: tuple[int, int]
) -> None:
    planned = plan(size, mode, 1536, 1024)
    assert (planned.resize, planned.output_size) == (resize, crop)


@given(SIDES, SIDES, MODES, SIDES, SIDES, st.integers(0, 99))
def test_every_sampled_transform_fits_the_image(
    w: int, h: int, mode: str, load: int, fine: int, seed: int
) -> None:
    assume(w < 3 * h < 9 * w)
    fine = min(fine, load)
    planned = plan((w, h), mode, load, fine, seed)
    cropped, resize = "rop" in mode, "resize" in mode
    if mode == "none":
        assert planned.output_size == (w, h)
    elif not resize:
        assert all(side % (4 if cropped else 32) == 0 for side in planned.resize)
    if planned.crop is not None:
        left, top, right, bottom = planned.crop
        assert 0 <= left < right <= planned.resize[0]
        assert 0 <= top < bottom <= planned.resize[1]
        assert top <= planned.resize[1] // 8
        assert all(
            side % 32 == 0 or side == whole
            for side, whole in zip(planned.output_size, planned.resize, strict=True)
        )


@given(SIDES, SIDES, MODES, st.integers(0, 99))
def test_same_seed_gives_the_same_transform_and_test_uses_no_randomness(
    w: int, h: int, mode: str, seed: int
) -> None:
    assume(w < 3 * h < 9 * w)
    assert plan((w, h), mode, 300, 200, seed) == plan((w, h), mode, 300, 200, seed)
    assert plan((w, h), mode, 300, 200) == plan((w, h), mode, 300, 200)


def test_random_scale_covers_its_whole_range() -> None:
    sides = {
        plan((512, 512), "randomScaleWidth_and_crop", 162, 128, seed).resize[0]
        for seed in range(600)
    }
    assert sides == set(range(128, 165, 4))  # 163 is drawn too: it alone rounds to 164


def test_crops_are_centered_horizontally_and_near_the_top() -> None:
    corners = np.array([plan((800, 800), "crop", fine=384, seed=seed).crop for seed in range(500)])
    span = (800 - 384) // 2
    assert abs(corners[:, 0].mean() - span) < span / 12
    assert abs(corners[:, 0].std() - span / 3) < span / 12
    assert (corners[:, 1].min(), corners[:, 1].max()) == (0, 100)


def test_test_transform_uses_the_middle_of_every_range() -> None:
    assert plan((800, 800), "crop", fine=384).crop == (208, 50, 592, 434)
    assert plan((512, 512), "randomScaleWidth", 160, 128).output_size == (
        128,
        128,
    )  # 144 -> 4.5 -> 4


def test_half_of_training_clips_and_no_test_clips_are_flipped() -> None:
    config = TransformConfig(64, 64, "none", uses_flip=True)
    flips = [
        sample_transform(ReferenceFrame((64, 64)), config, np.random.default_rng(s)).is_flipped
        for s in range(200)
    ]
    assert 70 < sum(flips) < 130
    assert not sample_transform(ReferenceFrame((64, 64)), config, None).is_flipped
    assert not any(plan((64, 64), "none", seed=s).is_flipped for s in range(20))


def test_apply_cuts_resizes_crops_and_flips_in_that_order() -> None:
    ids = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    doubled = np.zeros((4, 4), np.uint8)
    doubled[1:, :3] = ids[:, 1:]  # the box begins a column in and a row above: zero outside
    doubled = doubled.repeat(2, axis=0).repeat(2, axis=1)
    geometry = FrameTransform(resize=(8, 8), box=(1, -1, 5, 3), crop=(1, 2, 7, 6), is_flipped=True)
    assert np.array_equal(geometry.apply(Image.fromarray(ids), NEAREST), doubled[2:6, 1:7][:, ::-1])
    assert geometry.output_size == (6, 4)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I", "I;16", "1"])
def test_apply_accepts_every_pillow_mode_of_maps(mode: str) -> None:
    geometry = FrameTransform(resize=(8, 8), box=(-1, -1, 3, 3), crop=(1, 2, 7, 6), is_flipped=True)
    assert geometry.apply(Image.new(mode, (4, 4)), NEAREST).size == geometry.output_size


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
        plan((3000, 60), "scaleWidth")
