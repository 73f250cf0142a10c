"""Tests of training clips and test sequences read from files."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.dataset import ClipDataset, SequenceReader
from data.loader import build_dataloader
from data.sampler import ClipPlan, SamplerConfig, plan_epoch
from data.sequences import find_sequences
from data.street import StreetFrameReader
from data.transforms import TransformConfig
from util.clip import Clip
from util.errors import UserError

READER = StreetFrameReader(label_nc=8, input_nc=3, use_instance=True)
RANDOM_CROPS = TransformConfig(64, 32, "scaleWidth_and_crop", uses_flip=True)
UNCHANGED = TransformConfig(64, 64, "none", uses_flip=False)
LENGTHS = {"s1": 7, "s2": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences; the red channel of a frame is its index."""
    folder = tmp_path_factory.mktemp("street")
    rng = np.random.default_rng(0)
    for name, length in LENGTHS.items():
        for spec in ("A", "B", "inst"):
            (folder / f"train_{spec}" / name).mkdir(parents=True)
        for i in range(length):
            image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            image[..., 0] = i
            Image.fromarray(image).save(folder / f"train_B/{name}/{i:03}.png")
            Image.fromarray(image[..., 1] % 8).save(folder / f"train_A/{name}/{i:03}.png")
            Image.fromarray(image[..., 1].astype(np.uint16) * 100).save(
                folder / f"train_inst/{name}/{i:03}.png"
            )
    return folder


def make_dataset(
    root: Path,
    transform_config: TransformConfig = RANDOM_CROPS,
    add_flow: Callable[[Clip], Clip] | None = None,
) -> ClipDataset:
    sequences = find_sequences(root, "train", READER.folder_specs(uses_images=True))
    return ClipDataset(READER, sequences, transform_config, add_flow)


def is_equal(a: Clip, b: Clip) -> bool:
    assert a.image is not None and b.image is not None
    assert a.instance is not None and b.instance is not None
    return (
        torch.equal(a.condition, b.condition)
        and torch.equal(a.image, b.image)
        and torch.equal(a.instance, b.instance)
        and (a.names, a.window_size) == (b.names, b.window_size)
    )


def invert_images(clip: Clip) -> Clip:
    """Stand in for `add_flow`; a module-level function, so that workers can pickle it."""
    return replace(clip, image=255 - clip.image)


def raise_key_error(clip: Clip) -> Clip:
    raise KeyError("a bug, not an error of the user")


PLANS = plan_epoch(
    list(LENGTHS.values()),
    SamplerConfig(max_frames_per_gpu=2, batch_size=2, clips_per_epoch=6),
    4,
    epoch=1,
)


def test_clip_contains_the_frames_of_its_plan(root: Path) -> None:
    clip = make_dataset(root, UNCHANGED)[ClipPlan(1, (0, 2, 4), window_size=1, seed=(0,))]
    assert clip.condition.shape == (1, 3, 1, 48, 64) and clip.condition.dtype == torch.uint8
    assert clip.instance is not None and clip.image is not None
    assert clip.instance.shape == (1, 3, 1, 48, 64) and clip.instance.dtype == torch.int32
    assert clip.image[0, :, 0, 0, 0].tolist() == [0, 2, 4]
    assert clip.names == (("s2/000", "s2/002", "s2/004"),) and clip.window_size == 1


def test_transform_is_the_same_for_all_frames_and_maps(root: Path) -> None:
    """Exactly one of all possible crops and flips reproduces both the images and the labels."""
    plan = ClipPlan(0, (1, 2, 3), 1, seed=(5,))
    full = make_dataset(root, UNCHANGED)[plan]
    cropped = make_dataset(root)[plan]
    assert cropped.condition.shape[-2:] == (32, 32)
    n_matches = 0
    for y in range(17):
        for x in range(33):
            for flip in (False, True):
                crop = full.apply(lambda tensor, y=y, x=x: tensor[..., y : y + 32, x : x + 32])
                if flip:
                    crop = crop.apply(lambda tensor: tensor.flip(-1))
                n_matches += torch.equal(crop.image, cropped.image) and torch.equal(
                    crop.condition, cropped.condition
                )
    assert n_matches == 1


def test_batches_contain_all_their_clips(root: Path) -> None:
    loader = build_dataloader(make_dataset(root), PLANS, num_workers=0)
    for batch, clip in zip(PLANS, loader, strict=True):
        assert clip.condition.shape == (2, len(batch[0].frames), 1, 32, 32)
        assert [names[0] for names in clip.names] == [
            f"s{plan.sequence + 1}/{plan.frames[0]:03}" for plan in batch
        ]
        assert clip.window_size == batch[0].window_size


@pytest.mark.parametrize(("num_workers", "context"), [(2, None), (1, "spawn")])
def test_clips_do_not_depend_on_the_number_of_workers(
    root: Path, num_workers: int, context: str | None
) -> None:
    dataset = make_dataset(root, add_flow=invert_images)
    expected = build_dataloader(dataset, PLANS, num_workers=0)
    clips = build_dataloader(dataset, PLANS, num_workers, multiprocessing_context=context)
    assert all(is_equal(a, b) for a, b in zip(expected, clips, strict=True))


def test_add_flow_receives_the_clip(root: Path) -> None:
    plan = PLANS[0][0]
    clip = make_dataset(root)[plan]
    inverted = make_dataset(root, add_flow=invert_images)[plan]
    assert clip.image is not None and torch.equal(inverted.image, 255 - clip.image)


def test_global_random_generator_is_unchanged(root: Path) -> None:
    state = torch.get_rng_state()
    next(build_dataloader(make_dataset(root), PLANS, num_workers=0))
    assert torch.equal(state, torch.get_rng_state())


def test_infinite_batches_are_consumed_on_demand(root: Path) -> None:
    epochs = chain.from_iterable(
        plan_epoch([7, 5], SamplerConfig(), 2, epoch) for epoch in count(1)
    )
    loader = build_dataloader(make_dataset(root), epochs, num_workers=1)
    assert len({clip.names for clip in islice(loader, 5)}) > 2
    loader.close()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_user_error_in_a_worker_arrives_as_one_line(
    root: Path, tmp_path: Path, num_workers: int
) -> None:
    dataset = make_dataset(root)
    sequence = dataset.sequences[0]
    (tmp_path / "bad.png").write_bytes(b"not an image")
    files = {**sequence.files, "image": (tmp_path / "bad.png",) * 7}
    dataset = replace(dataset, sequences=[replace(sequence, files=files)])
    with pytest.raises(UserError, match=r"bad\.png: not an image") as error:
        next(build_dataloader(dataset, [[ClipPlan(0, (0,), 1, (0,))]], num_workers))
    assert "\n" not in str(error.value)


def test_other_error_in_a_worker_keeps_its_traceback(root: Path) -> None:
    dataset = make_dataset(root, add_flow=raise_key_error)
    with pytest.raises(KeyError, match=r"(?s)Traceback.*in raise_key_error"):
        next(build_dataloader(dataset, PLANS, num_workers=1))


def test_unequal_sizes_in_a_batch_name_both_clips(root: Path, tmp_path: Path) -> None:
    files = {}
    for key, folder, mode in (
        ("condition", "A", "L"),
        ("image", "B", "RGB"),
        ("instance", "inst", "I;16"),
    ):
        (tmp_path / folder).mkdir()
        files[key] = (tmp_path / folder / "x.png",)
        Image.new(mode, (40, 30)).save(files[key][0])
    dataset = make_dataset(root, UNCHANGED)
    sequence = dataset.sequences[0]
    small_sequence = replace(sequence, name="small", files=files)
    dataset = replace(dataset, sequences=[sequence, small_sequence])
    batch = [ClipPlan(0, (3,), 1, (0,)), ClipPlan(1, (0,), 1, (1,))]
    with pytest.raises(UserError, match="s1/003 of 64x48 and small/x of 40x30: use --batchSize 1"):
        next(build_dataloader(dataset, [batch], num_workers=0))


def test_reader_yields_frames_in_order(root: Path) -> None:
    sequence = find_sequences(root, "train", READER.folder_specs(uses_images=True))[0]
    reader = SequenceReader(READER, sequence, UNCHANGED, start=2)
    frames = list(reader)
    assert len(frames) == len(reader) == 5
    clip = make_dataset(root, UNCHANGED)[ClipPlan(0, (2, 3, 4, 5, 6), 1, (0,))]
    assert all(is_equal(frame, clip.slice_frames(i, i + 1)) for i, frame in enumerate(frames))


def test_reader_is_lazy_and_works_without_images(root: Path) -> None:
    sequence = find_sequences(root, "train", READER.folder_specs(uses_images=False))[1]
    files = {key: (paths[0], Path("missing.png")) for key, paths in sequence.files.items()}
    frames = iter(SequenceReader(READER, replace(sequence, files=files), UNCHANGED))
    assert next(frames).image is None
    with pytest.raises(UserError, match=r"missing\.png"):
        next(frames)


@pytest.mark.parametrize("start", [-1, 7])
def test_a_start_outside_the_sequence_is_refused(root: Path, start: int) -> None:
    sequence = find_sequences(root, "train", READER.folder_specs(uses_images=True))[0]
    with pytest.raises(UserError, match=f"--start_frame {start}: sequence s1 has frames 0..6"):
        SequenceReader(READER, sequence, UNCHANGED, start=start)
