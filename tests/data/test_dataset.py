"""Clips from files: the same for any number of workers, in constant memory in test, with faults in one line."""

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

STREET = StreetFrameReader(label_nc=8, input_nc=3, use_instance=True)
MIRRORED_CROPS = TransformConfig(64, 32, "scaleWidth_and_crop", uses_flip=True)
AS_STORED = TransformConfig(64, 64, "none", uses_flip=False)
LENGTHS = {"s1": 7, "s2": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences whose every frame is of its own colour: the red channel is its number."""
    folder, rng = tmp_path_factory.mktemp("street"), np.random.default_rng(0)
    for name, length in LENGTHS.items():
        for stream in ("A", "B", "inst"):
            (folder / f"train_{stream}" / name).mkdir(parents=True)
        for i in range(length):
            image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            image[..., 0] = i
            Image.fromarray(image).save(folder / f"train_B/{name}/{i:03}.png")
            Image.fromarray(image[..., 1] % 8).save(folder / f"train_A/{name}/{i:03}.png")
            Image.fromarray(image[..., 1].astype(np.uint16) * 100).save(
                folder / f"train_inst/{name}/{i:03}.png"
            )
    return folder


def dataset(
    root: Path,
    geometry: TransformConfig = MIRRORED_CROPS,
    annotate: Callable[[Clip], Clip] | None = None,
) -> ClipDataset:
    return ClipDataset(
        STREET,
        find_sequences(root, "train", STREET.folder_specs(uses_images=True)),
        geometry,
        annotate,
    )


def equal(a: Clip, b: Clip) -> bool:
    assert (
        a.image is not None
        and b.image is not None
        and a.instance is not None
        and b.instance is not None
    )
    return (
        torch.equal(a.condition, b.condition)
        and torch.equal(a.image, b.image)
        and torch.equal(a.instance, b.instance)
        and (a.names, a.window_size) == (b.names, b.window_size)
    )


def negative(clip: Clip) -> Clip:
    return replace(clip, image=255 - clip.image)


def broken(clip: Clip) -> Clip:
    raise KeyError("a defect, not the user's")


PLANS = plan_epoch(
    list(LENGTHS.values()),
    SamplerConfig(max_frames_per_gpu=2, batch_size=2, clips_per_epoch=6),
    4,
    epoch=1,
)


def test_clip_contains_the_frames_of_its_plan(root: Path) -> None:
    clip = dataset(root, AS_STORED)[ClipPlan(1, (0, 2, 4), window_size=1, seed=(0,))]
    assert clip.condition.shape == (1, 3, 1, 48, 64) and clip.condition.dtype == torch.uint8
    assert clip.instance is not None and clip.image is not None
    assert clip.instance.shape == (1, 3, 1, 48, 64) and clip.instance.dtype == torch.int32
    assert clip.image[0, :, 0, 0, 0].tolist() == [0, 2, 4]
    assert clip.names == (("s2/000", "s2/002", "s2/004"),) and clip.window_size == 1


def test_transform_is_the_same_for_all_frames_and_maps(root: Path) -> None:
    whole = dataset(root, AS_STORED)
    plan = ClipPlan(0, (1, 2, 3), 1, seed=(5,))
    full, cut = whole[plan], dataset(root)[plan]
    assert cut.condition.shape[-2:] == (32, 32)
    windows = [(y, x, flip) for y in range(17) for x in range(33) for flip in (False, True)]
    views = [
        (full.image[..., y : y + 32, x : x + 32], full.condition[..., y : y + 32, x : x + 32])
        for y, x, _ in windows
    ]
    hits = [
        i
        for i, (p, c) in enumerate(views)
        if torch.equal(p.flip(-1) if windows[i][2] else p, cut.image)
        and torch.equal(c.flip(-1) if windows[i][2] else c, cut.condition)
    ]
    assert len(hits) == 1


def test_batches_contain_all_their_clips(root: Path) -> None:
    for batch, clip in zip(
        PLANS, build_dataloader(dataset(root), PLANS, num_workers=0), strict=True
    ):
        assert clip.condition.shape == (2, len(batch[0].frames), 1, 32, 32)
        assert [names[0] for names in clip.names] == [
            f"s{p.sequence + 1}/{p.frames[0]:03}" for p in batch
        ]
        assert clip.window_size == batch[0].window_size


@pytest.mark.parametrize(("workers", "context"), [(2, None), (1, "spawn")])
def test_clips_do_not_depend_on_the_number_of_workers(
    root: Path, workers: int, context: str | None
) -> None:
    clips = dataset(root, annotate=negative)
    alone = list(build_dataloader(clips, PLANS, num_workers=0))
    assert all(
        equal(a, b)
        for a, b in zip(
            alone,
            build_dataloader(clips, PLANS, workers, multiprocessing_context=context),
            strict=True,
        )
    )


def test_annotate_receives_the_clip(root: Path) -> None:
    plain, dark = dataset(root)[PLANS[0][0]], dataset(root, annotate=negative)[PLANS[0][0]]
    assert plain.image is not None and torch.equal(dark.image, 255 - plain.image)


def test_global_random_generator_is_unchanged(root: Path) -> None:
    before = torch.get_rng_state()
    next(build_dataloader(dataset(root), PLANS, num_workers=0))
    assert torch.equal(before, torch.get_rng_state())


def test_infinite_batches_are_consumed_on_demand(root: Path) -> None:
    epochs = chain.from_iterable(
        plan_epoch([7, 5], SamplerConfig(), 2, epoch) for epoch in count(1)
    )
    loader = build_dataloader(dataset(root), epochs, num_workers=1)
    assert len({clip.names for clip in islice(loader, 5)}) > 2
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_user_error_in_a_worker_arrives_as_one_line(
    root: Path, tmp_path: Path, workers: int
) -> None:
    clips = dataset(root)
    (tmp_path / "bad.png").write_bytes(b"not an image")
    files = {**clips.sequences[0].files, "image": (tmp_path / "bad.png",) * 7}
    faulty = replace(clips, sequences=[replace(clips.sequences[0], files=files)])
    with pytest.raises(UserError, match=r"bad\.png: not an image") as fault:
        next(build_dataloader(faulty, [[ClipPlan(0, (0,), 1, (0,))]], workers))
    assert "\n" not in str(fault.value)


def test_other_error_in_a_worker_keeps_its_traceback(root: Path) -> None:
    with pytest.raises(KeyError, match=r"(?s)Traceback.*in broken"):
        next(build_dataloader(dataset(root, annotate=broken), PLANS, num_workers=1))


def test_unequal_sizes_in_a_batch_name_both_clips(root: Path, tmp_path: Path) -> None:
    clips = dataset(root, AS_STORED)
    for stream, mode in (("A", "L"), ("B", "RGB"), ("inst", "I;16")):
        (tmp_path / stream).mkdir()
        Image.new(mode, (40, 30)).save(tmp_path / stream / "x.png")
    files = {
        s: (tmp_path / d / "x.png",)
        for s, d in zip(clips.sequences[0].files, ("A", "B", "inst"), strict=True)
    }
    mixed = replace(
        clips, sequences=[clips.sequences[0], replace(clips.sequences[0], name="odd", files=files)]
    )
    batch = [ClipPlan(0, (3,), 1, (0,)), ClipPlan(1, (0,), 1, (1,))]
    with pytest.raises(UserError, match="s1/003 of 64x48 and odd/x of 40x30: use --batchSize 1"):
        next(build_dataloader(mixed, [batch], num_workers=0))


def test_reader_yields_frames_in_order(root: Path) -> None:
    sequence = find_sequences(root, "train", STREET.folder_specs(uses_images=True))[0]
    reader = SequenceReader(STREET, sequence, AS_STORED, start=2)
    frames = list(reader)
    assert len(frames) == len(reader) == 5
    whole = dataset(root, AS_STORED)[ClipPlan(0, (2, 3, 4, 5, 6), 1, (0,))]
    assert all(equal(frame, whole.slice_frames(i, i + 1)) for i, frame in enumerate(frames))


def test_reader_is_lazy_and_works_without_images(root: Path) -> None:
    sequence = find_sequences(root, "train", STREET.folder_specs(uses_images=False))[1]
    gone = replace(
        sequence, files={s: (*f[:1], Path("gone.png")) for s, f in sequence.files.items()}
    )
    frames = iter(SequenceReader(STREET, gone, AS_STORED))
    assert next(frames).image is None
    with pytest.raises(UserError, match=r"gone\.png"):
        next(frames)


@pytest.mark.parametrize("start", [-1, 7])
def test_a_start_outside_the_sequence_is_refused(root: Path, start: int) -> None:
    sequence = find_sequences(root, "train", STREET.folder_specs(uses_images=True))[0]
    with pytest.raises(UserError, match=f"--start_frame {start}: sequence s1 has frames 0..6"):
        SequenceReader(STREET, sequence, AS_STORED, start=start)
