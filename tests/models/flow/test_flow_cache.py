import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

from data.geometry import Geometry
from data.pictures import open_picture, picture_tensor, read_picture
from models.flow import ReferenceFlow
from models.flow.annotate import CachedAnnotator, EstimatingAnnotator
from models.flow.cache import FlowCache, cut_flow, decode, encode
from models.flow.dis import Dis
from models.warp import warp
from util.clip import Clip, Source
from util.levels import signed


class Counting(ReferenceFlow):
    """Answers with the red and green channels, and counts the questions."""

    name = "counting"

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.asked = 0

    def vectors(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return (current - previous)[:, :2] * 100


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    rng = np.random.default_rng(0)
    paths = tuple(tmp_path / f"{n}.png" for n in range(4))
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    return paths


def cut(picture: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    image = Image.fromarray(((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    return signed(picture_tensor(geometry.apply(image, Image.Resampling.BICUBIC)))


def test_what_is_kept_is_the_flow_in_half_precision() -> None:
    flow = 300 * torch.randn(2, 13, 17, generator=torch.Generator().manual_seed(0))
    kept = decode(encode(flow))
    assert kept is not None
    torch.testing.assert_close(kept, flow.half().float(), rtol=0, atol=0)


def test_smooth_flow_is_kept_in_less_than_a_byte_a_number() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 3, 256), torch.linspace(0, 5, 512), indexing="ij")
    assert len(encode(torch.stack([x + y.sin(), y * x.cos()]))) < 2 * 256 * 512


@pytest.mark.parametrize("damage", [
    lambda content: content[:-1], lambda content: content + b"x", lambda content: b"",
    lambda content: content[:30] + bytes([content[30] ^ 1]) + content[31:],
])
def test_a_damaged_file_is_estimated_anew(damage, files: tuple[Path, ...], tmp_path: Path) -> None:
    reference = Counting()
    cache = FlowCache.of(tmp_path / "cache", reference)
    first = cache.find_or_estimate(files[1], files[0], reference, read_picture)
    path = cache.path(files[1], files[0])
    path.write_bytes(damage(path.read_bytes()))
    assert cache.find(files[1], files[0]) is None
    torch.testing.assert_close(cache.find_or_estimate(files[1], files[0], reference, read_picture), first)
    assert reference.asked == 2 and cache.find(files[1], files[0]) is not None


def test_flow_is_estimated_once(files: tuple[Path, ...], tmp_path: Path) -> None:
    reference = Counting()
    cache = FlowCache.of(tmp_path / "cache", reference)
    first, again = (cache.find_or_estimate(files[1], files[0], reference, read_picture) for _ in range(2))
    assert reference.asked == 1
    torch.testing.assert_close(first, again, rtol=0, atol=0)  # the first epoch sees what all others do


def test_pictures_network_and_order_make_the_key(files: tuple[Path, ...], tmp_path: Path) -> None:
    cache = FlowCache.of(tmp_path, Counting())
    key = cache.path(files[1], files[0])
    copy = tmp_path / "copy.png"
    copy.write_bytes(files[1].read_bytes())
    assert cache.path(copy, files[0]) == key
    others = [cache.path(files[0], files[1]), FlowCache.of(tmp_path, Counting("2")).path(files[1], files[0])]
    files[1].write_bytes(files[2].read_bytes())
    assert len({key, *others, cache.path(files[1], files[0])}) == 4


GEOMETRIES = [
    Geometry((80, 60)), Geometry((40, 24), flip=True), Geometry((100, 90), crop=(11, 7, 75, 71)),
    Geometry((64, 64), box=(15, 3, 60, 48), flip=True),
    Geometry((90, 66), box=(-10, -6, 70, 50), crop=(10, 2, 74, 50)),
]


def shown_positions(geometry: Geometry) -> tuple[torch.Tensor, torch.Tensor]:
    """What each column and row of the clip shows of a 80x60 picture, pixel centres being whole numbers."""
    left, top, right, bottom = geometry.shown((80, 60))
    width, height = geometry.size
    column = torch.arange(width) + 0.5
    x = left + (width - column if geometry.flip else column) * (right - left) / width - 0.5
    return x, top + (torch.arange(height) + 0.5) * (bottom - top) / height - 0.5


def inside(geometry: Geometry, margin: int) -> torch.Tensor:
    """(H, W): pixels of the clip that show the picture, and not its border."""
    x, y = shown_positions(geometry)
    mask = ((y > margin) & (y < 59 - margin))[:, None] & (x > margin) & (x < 79 - margin)
    assert mask.sum() > 100
    return mask


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_linear_flow_is_cut_exactly(geometry: Geometry) -> None:
    """Flow (2 + 0.1 x, 1 - 0.2 y) of a 80x60 picture: what any pixel of the clip shows can be said in closed form."""
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    left, top, right, bottom = geometry.shown((80, 60))
    width, height = geometry.size
    source = Source((), (left, top, right, bottom), geometry.flip)
    got = cut_flow(torch.stack([2 + 0.1 * x, 1 - 0.2 * y]), source, (height, width))
    at_x, at_y = shown_positions(geometry)
    expected_x = (2 + 0.1 * at_x) * width / (right - left) * (-1 if geometry.flip else 1)
    expected_y = (1 - 0.2 * at_y) * height / (bottom - top)
    expected = torch.stack([expected_x.expand(height, width), expected_y[:, None].expand(height, width)])
    mask = inside(geometry, margin=3)
    torch.testing.assert_close(got[:, mask], expected[:, mask], atol=1e-3, rtol=0)  # the filter at odd ratios: 8e-4


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_cut_flow_carries_the_cut_pictures(geometry: Geometry) -> None:
    """No formula here: pictures take the way that training takes, Pillow's."""
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    flow = torch.stack([3 + 2 * (y / 15).sin(), 2 * (x / 20).cos()])
    photograph = Image.fromarray(photographs.astronaut()).crop((100, 0, 400, 225)).resize((80, 60))
    previous = signed(picture_tensor(photograph))
    current = cut(warp(previous[None], flow[None])[0], geometry)
    width, height = geometry.size
    cut_vectors = cut_flow(flow, Source((), geometry.shown((80, 60)), geometry.flip), (height, width))
    mask, before = inside(geometry, margin=8), cut(previous, geometry)
    left_by_flow = (warp(before[None], cut_vectors[None])[0] - current)[:, mask].abs().mean()
    assert left_by_flow < 0.2 * (before - current)[:, mask].abs().mean()


def clip_of(files: tuple[Path, ...], geometry: Geometry) -> Clip:
    picture = torch.stack([cut(read_picture(path), geometry) for path in files])[None]
    return Clip(picture, picture, None, names=(tuple(map(str, files)),),
                source=Source(files, geometry.shown((60, 40)), geometry.flip))


def all_neighbours(clip: Clip) -> tuple[tuple[int, int], ...]:
    return tuple((n, n - 1) for n in range(1, len(clip)))


def test_workers_estimate_on_the_clip(files: tuple[Path, ...]) -> None:
    clip = clip_of(files, Geometry((48, 32), flip=True))
    annotated = pickle.loads(pickle.dumps(EstimatingAnnotator(Dis(), all_neighbours)))(clip)
    assert annotated.pairs == ((1, 0), (2, 1), (3, 2)) and annotated.pair_flow is not None
    assert clip.picture is not None
    expected = Dis().vectors(clip.picture[0, 1:], clip.picture[0, :-1])
    torch.testing.assert_close(annotated.pair_flow[0], expected, rtol=0, atol=0)


def test_workers_estimate_on_bytes_what_they_do_on_numbers(files: tuple[Path, ...]) -> None:
    pictures = torch.stack([picture_tensor(open_picture(path)) for path in files])[None]
    of_bytes = Clip(pictures, pictures, None, names=(tuple(map(str, files)),), levels=signed)
    of_numbers = of_bytes.to(torch.device("cpu"))
    assert of_bytes.picture.dtype == torch.uint8 and of_numbers.picture.dtype == torch.float32
    annotator = EstimatingAnnotator(Dis(), all_neighbours)
    assert torch.equal(annotator(of_bytes).pair_flow, annotator(of_numbers).pair_flow)


def test_workers_cut_kept_flow(files: tuple[Path, ...], tmp_path: Path) -> None:
    reference = Counting()
    cache = FlowCache.of(tmp_path / "cache", reference)
    annotator = CachedAnnotator(cache, reference, all_neighbours, read_picture)
    pickle.loads(pickle.dumps(annotator))
    clip = clip_of(files, Geometry((48, 32), crop=(8, 0, 40, 32), flip=True))
    flow = annotator(clip).known_flow([(3, 2)])
    assert reference.asked == 3 and flow is not None and clip.source is not None
    whole = cache.find(files[3], files[2])
    assert whole is not None
    torch.testing.assert_close(flow[0, 0], cut_flow(whole, clip.source, (32, 32)))
    annotator(clip_of(files, Geometry((30, 20))))
    assert reference.asked == 3


def test_what_the_cache_lacks_is_left_to_the_trainer(files: tuple[Path, ...], tmp_path: Path) -> None:
    reference = Counting()
    cache = FlowCache.of(tmp_path / "cache", reference)
    cache.find_or_estimate(files[2], files[1], reference, read_picture)
    annotated = CachedAnnotator(cache, None, all_neighbours, read_picture)(clip_of(files, Geometry((48, 32))))
    assert annotated.pairs == ((2, 1),) and annotated.known_flow([(1, 0), (2, 1)]) is None
    both = Clip.stack([annotated, clip_of(files, Geometry((48, 32)))])
    assert both.pairs == () and both.pair_flow is None
