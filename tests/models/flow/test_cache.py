"""The flow cache, and what the data loader's workers take from it."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

from data.image_io import image_to_tensor, open_image, read_image
from data.transforms import FrameTransform
from models.flow import FlowEstimator
from models.flow.cache import FlowCache, crop_flow, decode_flow, encode_flow
from models.flow.dis import DISFlowEstimator
from models.flow.precompute import CachedFlowAnnotator, FlowAnnotator
from models.flow.warp import warp
from util.clip import Clip, ClipSource
from util.images.normalization import normalize_to_pm1


class CountingEstimator(FlowEstimator):
    """Returns the difference of the red and green channels, and counts its calls."""

    name = "counting"

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.n_calls = 0

    def estimate(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        self.n_calls += 1
        return (current - previous)[:, :2] * 100


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """Return four random images of 60x40."""
    rng = np.random.default_rng(0)
    paths = tuple(tmp_path / f"{i}.png" for i in range(4))
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    return paths


def apply_transform(image: torch.Tensor, transform: FrameTransform) -> torch.Tensor:
    pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    transformed = transform.apply(Image.fromarray(pixels), Image.Resampling.BICUBIC)
    return normalize_to_pm1(image_to_tensor(transformed))


def test_cached_flow_is_float16() -> None:
    flow = 300 * torch.randn(2, 13, 17, generator=torch.Generator().manual_seed(0))
    decoded = decode_flow(encode_flow(flow))
    assert decoded is not None
    torch.testing.assert_close(decoded, flow.half().float(), rtol=0, atol=0)


def test_smooth_flow_is_compressed_below_one_byte_per_value() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 3, 256), torch.linspace(0, 5, 512), indexing="ij")
    assert len(encode_flow(torch.stack([x + y.sin(), y * x.cos()]))) < 2 * 256 * 512


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"",
        lambda content: content[:30] + bytes([content[30] ^ 1]) + content[31:],
    ],
)
def test_a_damaged_file_is_estimated_anew(damage, files: tuple[Path, ...], tmp_path: Path) -> None:
    estimator = CountingEstimator()
    cache = FlowCache.for_estimator(tmp_path / "cache", estimator)
    first = cache.load_or_estimate(files[1], files[0], estimator, read_image)
    path = cache.get_path(files[1], files[0])
    path.write_bytes(damage(path.read_bytes()))
    assert cache.load(files[1], files[0]) is None
    second = cache.load_or_estimate(files[1], files[0], estimator, read_image)
    torch.testing.assert_close(second, first)
    assert estimator.n_calls == 2 and cache.load(files[1], files[0]) is not None


def test_flow_is_estimated_once(files: tuple[Path, ...], tmp_path: Path) -> None:
    estimator = CountingEstimator()
    cache = FlowCache.for_estimator(tmp_path / "cache", estimator)
    first = cache.load_or_estimate(files[1], files[0], estimator, read_image)
    second = cache.load_or_estimate(files[1], files[0], estimator, read_image)
    assert estimator.n_calls == 1
    # Equal bits: the first epoch trains on the same flow as the others.
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_cache_key_depends_on_images_network_and_order(
    files: tuple[Path, ...], tmp_path: Path
) -> None:
    cache = FlowCache.for_estimator(tmp_path, CountingEstimator())
    key = cache.get_path(files[1], files[0])
    copy = tmp_path / "copy.png"
    copy.write_bytes(files[1].read_bytes())
    assert cache.get_path(copy, files[0]) == key
    other_order = cache.get_path(files[0], files[1])
    other_cache = FlowCache.for_estimator(tmp_path, CountingEstimator("2"))
    other_version = other_cache.get_path(files[1], files[0])
    files[1].write_bytes(files[2].read_bytes())
    other_content = cache.get_path(files[1], files[0])
    assert len({key, other_order, other_version, other_content}) == 4


TRANSFORMS = [
    FrameTransform((80, 60)),
    FrameTransform((40, 24), is_flipped=True),
    FrameTransform((100, 90), crop=(11, 7, 75, 71)),
    FrameTransform((64, 64), box=(15, 3, 60, 48), is_flipped=True),
    FrameTransform((90, 66), box=(-10, -6, 70, 50), crop=(10, 2, 74, 50)),
]


def compute_source_positions(transform: FrameTransform) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the x of each clip column and the y of each clip row in a 80x60 image."""
    left, top, right, bottom = transform.visible_region((80, 60))
    width, height = transform.output_size
    column = torch.arange(width) + 0.5
    if transform.is_flipped:
        column = width - column
    x = left + column * (right - left) / width - 0.5
    return x, top + (torch.arange(height) + 0.5) * (bottom - top) / height - 0.5


def compute_interior_mask(transform: FrameTransform, margin: int) -> torch.Tensor:
    """Return the mask (H, W) of clip pixels at least `margin` pixels inside the 80x60 image."""
    x, y = compute_source_positions(transform)
    mask = ((y > margin) & (y < 59 - margin))[:, None] & (x > margin) & (x < 79 - margin)
    assert mask.sum() > 100
    return mask


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_linear_flow_is_cropped_exactly(transform: FrameTransform) -> None:
    """Flow (2 + 0.1 x, 1 - 0.2 y) of a 80x60 image has a closed form at every pixel of the clip."""
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    left, top, right, bottom = transform.visible_region((80, 60))
    width, height = transform.output_size
    source = ClipSource((), (left, top, right, bottom), transform.is_flipped)
    result = crop_flow(torch.stack([2 + 0.1 * x, 1 - 0.2 * y]), source, (height, width))
    source_x, source_y = compute_source_positions(transform)
    sign = -1 if transform.is_flipped else 1
    expected_x = (2 + 0.1 * source_x) * width / (right - left) * sign
    expected_y = (1 - 0.2 * source_y) * height / (bottom - top)
    expected = torch.stack(
        [expected_x.expand(height, width), expected_y[:, None].expand(height, width)]
    )
    mask = compute_interior_mask(transform, margin=3)
    # Pillow's filter at odd ratios deviates by 8e-4.
    torch.testing.assert_close(result[:, mask], expected[:, mask], atol=1e-3, rtol=0)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_cropped_flow_warps_cropped_images(transform: FrameTransform) -> None:
    """The images are transformed by Pillow, as in training, not by a formula."""
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    flow = torch.stack([3 + 2 * (y / 15).sin(), 2 * (x / 20).cos()])
    photograph = Image.fromarray(photographs.astronaut()).crop((100, 0, 400, 225)).resize((80, 60))
    full_previous = normalize_to_pm1(image_to_tensor(photograph))
    current = apply_transform(warp(full_previous[None], flow[None])[0], transform)
    previous = apply_transform(full_previous, transform)
    width, height = transform.output_size
    source = ClipSource((), transform.visible_region((80, 60)), transform.is_flipped)
    cropped_flow = crop_flow(flow, source, (height, width))
    mask = compute_interior_mask(transform, margin=8)
    warped_previous = warp(previous[None], cropped_flow[None])[0]
    error = (warped_previous - current)[:, mask].abs().mean()
    assert error < 0.2 * (previous - current)[:, mask].abs().mean()


def make_clip(files: tuple[Path, ...], transform: FrameTransform) -> Clip:
    image = torch.stack([apply_transform(read_image(path), transform) for path in files])[None]
    return Clip(
        image,
        image,
        None,
        names=(tuple(map(str, files)),),
        source=ClipSource(files, transform.visible_region((60, 40)), transform.is_flipped),
    )


def select_neighbors(clip: Clip) -> tuple[tuple[int, int], ...]:
    return tuple((t, t - 1) for t in range(1, len(clip)))


def test_workers_estimate_flow_on_the_transformed_clip(files: tuple[Path, ...]) -> None:
    clip = make_clip(files, FrameTransform((48, 32), is_flipped=True))
    annotator = pickle.loads(pickle.dumps(FlowAnnotator(DISFlowEstimator(), select_neighbors)))
    annotated = annotator(clip)
    assert annotated.flow_pairs == ((1, 0), (2, 1), (3, 2)) and annotated.pair_flow is not None
    assert clip.image is not None
    expected = DISFlowEstimator().estimate(clip.image[0, 1:], clip.image[0, :-1])
    torch.testing.assert_close(annotated.pair_flow[0], expected, rtol=0, atol=0)


def test_workers_estimate_the_same_flow_on_uint8_and_float(files: tuple[Path, ...]) -> None:
    images = torch.stack([image_to_tensor(open_image(path)) for path in files])[None]
    names = (tuple(map(str, files)),)
    uint8_clip = Clip(images, images, None, names=names, normalization=normalize_to_pm1)
    float_clip = uint8_clip.to(torch.device("cpu"))
    assert uint8_clip.image.dtype == torch.uint8 and float_clip.image.dtype == torch.float32
    annotator = FlowAnnotator(DISFlowEstimator(), select_neighbors)
    assert torch.equal(annotator(uint8_clip).pair_flow, annotator(float_clip).pair_flow)


def test_workers_crop_cached_flow(files: tuple[Path, ...], tmp_path: Path) -> None:
    estimator = CountingEstimator()
    cache = FlowCache.for_estimator(tmp_path / "cache", estimator)
    annotator = CachedFlowAnnotator(cache, estimator, select_neighbors, read_image)
    pickle.loads(pickle.dumps(annotator))
    clip = make_clip(files, FrameTransform((48, 32), crop=(8, 0, 40, 32), is_flipped=True))
    flow = annotator(clip).get_pair_flow([(3, 2)])
    assert estimator.n_calls == 3 and flow is not None and clip.source is not None
    full_flow = cache.load(files[3], files[2])
    assert full_flow is not None
    torch.testing.assert_close(flow[0, 0], crop_flow(full_flow, clip.source, (32, 32)))
    annotator(make_clip(files, FrameTransform((30, 20))))
    assert estimator.n_calls == 3


def test_flow_missing_in_the_cache_is_left_to_the_trainer(
    files: tuple[Path, ...], tmp_path: Path
) -> None:
    estimator = CountingEstimator()
    cache = FlowCache.for_estimator(tmp_path / "cache", estimator)
    cache.load_or_estimate(files[2], files[1], estimator, read_image)
    annotator = CachedFlowAnnotator(cache, None, select_neighbors, read_image)
    annotated = annotator(make_clip(files, FrameTransform((48, 32))))
    assert annotated.flow_pairs == ((2, 1),) and annotated.get_pair_flow([(1, 0), (2, 1)]) is None
    batch = Clip.stack([annotated, make_clip(files, FrameTransform((48, 32)))])
    assert batch.flow_pairs == () and batch.pair_flow is None
