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
from models.flow.annotate import CachedFlowAnnotator, FlowAnnotator
from models.flow.cache import FlowCache, crop_flow, decode_flow, encode_flow
from models.flow.dis import DISFlowEstimator
from models.flow.warp import warp
from util.clip import Clip, ClipSource
from util.images.normalization import normalize_to_pm1


class Counting(FlowEstimator):
    """Answers with the red and green channels, and counts the questions."""

    name = "counting"

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.asked = 0

    def estimate(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return (current - previous)[:, :2] * 100


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    rng = np.random.default_rng(0)
    paths = tuple(tmp_path / f"{n}.png" for n in range(4))
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    return paths


def cut(image: torch.Tensor, geometry: FrameTransform) -> torch.Tensor:
    image = Image.fromarray(((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    return normalize_to_pm1(image_to_tensor(geometry.apply(image, Image.Resampling.BICUBIC)))


def test_cached_flow_is_float16() -> None:
    flow = 300 * torch.randn(2, 13, 17, generator=torch.Generator().manual_seed(0))
    kept = decode_flow(encode_flow(flow))
    assert kept is not None
    torch.testing.assert_close(kept, flow.half().float(), rtol=0, atol=0)


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
    reference = Counting()
    cache = FlowCache.for_estimator(tmp_path / "cache", reference)
    first = cache.load_or_estimate(files[1], files[0], reference, read_image)
    path = cache.get_path(files[1], files[0])
    path.write_bytes(damage(path.read_bytes()))
    assert cache.load(files[1], files[0]) is None
    torch.testing.assert_close(
        cache.load_or_estimate(files[1], files[0], reference, read_image), first
    )
    assert reference.asked == 2 and cache.load(files[1], files[0]) is not None


def test_flow_is_estimated_once(files: tuple[Path, ...], tmp_path: Path) -> None:
    reference = Counting()
    cache = FlowCache.for_estimator(tmp_path / "cache", reference)
    first, again = (
        cache.load_or_estimate(files[1], files[0], reference, read_image) for _ in range(2)
    )
    assert reference.asked == 1
    torch.testing.assert_close(
        first, again, rtol=0, atol=0
    )  # the first epoch sees what all others do


def test_cache_key_depends_on_images_network_and_order(
    files: tuple[Path, ...], tmp_path: Path
) -> None:
    cache = FlowCache.for_estimator(tmp_path, Counting())
    key = cache.get_path(files[1], files[0])
    copy = tmp_path / "copy.png"
    copy.write_bytes(files[1].read_bytes())
    assert cache.get_path(copy, files[0]) == key
    others = [
        cache.get_path(files[0], files[1]),
        FlowCache.for_estimator(tmp_path, Counting("2")).get_path(files[1], files[0]),
    ]
    files[1].write_bytes(files[2].read_bytes())
    assert len({key, *others, cache.get_path(files[1], files[0])}) == 4


GEOMETRIES = [
    FrameTransform((80, 60)),
    FrameTransform((40, 24), is_flipped=True),
    FrameTransform((100, 90), crop=(11, 7, 75, 71)),
    FrameTransform((64, 64), box=(15, 3, 60, 48), is_flipped=True),
    FrameTransform((90, 66), box=(-10, -6, 70, 50), crop=(10, 2, 74, 50)),
]


def shown_positions(geometry: FrameTransform) -> tuple[torch.Tensor, torch.Tensor]:
    """What each column and row of the clip shows of a 80x60 image, pixel centres being whole numbers."""
    left, top, right, bottom = geometry.visible_region((80, 60))
    width, height = geometry.output_size
    column = torch.arange(width) + 0.5
    x = left + (width - column if geometry.is_flipped else column) * (right - left) / width - 0.5
    return x, top + (torch.arange(height) + 0.5) * (bottom - top) / height - 0.5


def inside(geometry: FrameTransform, margin: int) -> torch.Tensor:
    """(H, W): pixels of the clip that show the image, and not its border."""
    x, y = shown_positions(geometry)
    mask = ((y > margin) & (y < 59 - margin))[:, None] & (x > margin) & (x < 79 - margin)
    assert mask.sum() > 100
    return mask


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_linear_flow_is_cropped_exactly(geometry: FrameTransform) -> None:
    """Flow (2 + 0.1 x, 1 - 0.2 y) of a 80x60 image: what any pixel of the clip shows can be said in closed form."""
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    left, top, right, bottom = geometry.visible_region((80, 60))
    width, height = geometry.output_size
    source = ClipSource((), (left, top, right, bottom), geometry.is_flipped)
    got = crop_flow(torch.stack([2 + 0.1 * x, 1 - 0.2 * y]), source, (height, width))
    at_x, at_y = shown_positions(geometry)
    expected_x = (2 + 0.1 * at_x) * width / (right - left) * (-1 if geometry.is_flipped else 1)
    expected_y = (1 - 0.2 * at_y) * height / (bottom - top)
    expected = torch.stack(
        [expected_x.expand(height, width), expected_y[:, None].expand(height, width)]
    )
    mask = inside(geometry, margin=3)
    torch.testing.assert_close(
        got[:, mask], expected[:, mask], atol=1e-3, rtol=0
    )  # the filter at odd ratios: 8e-4


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_cropped_flow_warps_cropped_images(geometry: FrameTransform) -> None:
    """No formula here: images take the way that training takes, Pillow's."""
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    flow = torch.stack([3 + 2 * (y / 15).sin(), 2 * (x / 20).cos()])
    photograph = Image.fromarray(photographs.astronaut()).crop((100, 0, 400, 225)).resize((80, 60))
    previous = normalize_to_pm1(image_to_tensor(photograph))
    current = cut(warp(previous[None], flow[None])[0], geometry)
    width, height = geometry.output_size
    cut_vectors = crop_flow(
        flow,
        ClipSource((), geometry.visible_region((80, 60)), geometry.is_flipped),
        (height, width),
    )
    mask, before = inside(geometry, margin=8), cut(previous, geometry)
    left_by_flow = (warp(before[None], cut_vectors[None])[0] - current)[:, mask].abs().mean()
    assert left_by_flow < 0.2 * (before - current)[:, mask].abs().mean()


def clip_of(files: tuple[Path, ...], geometry: FrameTransform) -> Clip:
    image = torch.stack([cut(read_image(path), geometry) for path in files])[None]
    return Clip(
        image,
        image,
        None,
        names=(tuple(map(str, files)),),
        source=ClipSource(files, geometry.visible_region((60, 40)), geometry.is_flipped),
    )


def all_neighbours(clip: Clip) -> tuple[tuple[int, int], ...]:
    return tuple((n, n - 1) for n in range(1, len(clip)))


def test_workers_estimate_flow_on_the_transformed_clip(files: tuple[Path, ...]) -> None:
    clip = clip_of(files, FrameTransform((48, 32), is_flipped=True))
    annotated = pickle.loads(pickle.dumps(FlowAnnotator(DISFlowEstimator(), all_neighbours)))(clip)
    assert annotated.flow_pairs == ((1, 0), (2, 1), (3, 2)) and annotated.pair_flow is not None
    assert clip.image is not None
    expected = DISFlowEstimator().estimate(clip.image[0, 1:], clip.image[0, :-1])
    torch.testing.assert_close(annotated.pair_flow[0], expected, rtol=0, atol=0)


def test_workers_estimate_the_same_flow_on_uint8_and_float(files: tuple[Path, ...]) -> None:
    images = torch.stack([image_to_tensor(open_image(path)) for path in files])[None]
    of_bytes = Clip(
        images, images, None, names=(tuple(map(str, files)),), normalization=normalize_to_pm1
    )
    of_numbers = of_bytes.to(torch.device("cpu"))
    assert of_bytes.image.dtype == torch.uint8 and of_numbers.image.dtype == torch.float32
    annotator = FlowAnnotator(DISFlowEstimator(), all_neighbours)
    assert torch.equal(annotator(of_bytes).pair_flow, annotator(of_numbers).pair_flow)


def test_workers_crop_cached_flow(files: tuple[Path, ...], tmp_path: Path) -> None:
    reference = Counting()
    cache = FlowCache.for_estimator(tmp_path / "cache", reference)
    annotator = CachedFlowAnnotator(cache, reference, all_neighbours, read_image)
    pickle.loads(pickle.dumps(annotator))
    clip = clip_of(files, FrameTransform((48, 32), crop=(8, 0, 40, 32), is_flipped=True))
    flow = annotator(clip).get_pair_flow([(3, 2)])
    assert reference.asked == 3 and flow is not None and clip.source is not None
    whole = cache.load(files[3], files[2])
    assert whole is not None
    torch.testing.assert_close(flow[0, 0], crop_flow(whole, clip.source, (32, 32)))
    annotator(clip_of(files, FrameTransform((30, 20))))
    assert reference.asked == 3


def test_flow_missing_in_the_cache_is_left_to_the_trainer(
    files: tuple[Path, ...], tmp_path: Path
) -> None:
    reference = Counting()
    cache = FlowCache.for_estimator(tmp_path / "cache", reference)
    cache.load_or_estimate(files[2], files[1], reference, read_image)
    annotated = CachedFlowAnnotator(cache, None, all_neighbours, read_image)(
        clip_of(files, FrameTransform((48, 32)))
    )
    assert annotated.flow_pairs == ((2, 1),) and annotated.get_pair_flow([(1, 0), (2, 1)]) is None
    both = Clip.stack([annotated, clip_of(files, FrameTransform((48, 32)))])
    assert both.flow_pairs == () and both.pair_flow is None
