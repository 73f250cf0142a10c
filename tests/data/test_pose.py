"""Poses against loops that read as SPEC 5 does, and the rules of augmentation. (Whole images: tests/parity.)"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from data.drawing import rasterize_curve
from data.keypoints import Person
from data.pose import (
    PoseFrameReader,
    center_crop_columns,
    draw_strokes,
    iter_limb_groups,
    normalize_densepose,
    pose_to_image,
)
from data.transforms import FrameTransform
from util.errors import UserError

POSE = PoseFrameReader(
    uses_densepose=True,
    uses_openpose=True,
    uses_basic_points=False,
    remove_face_labels=False,
    drop_prob=0.2,
    person_selection="all",
)
SIZE = (160, 96)
AS_IT_IS = FrameTransform(SIZE)
HEAD = {
    (17, 15): (153, 0, 153),
    (15, 0): (153, 0, 102),
    (0, 16): (102, 0, 153),
    (16, 18): (51, 0, 153),
}
LIMBS = HEAD | {
    (0, 1): (153, 0, 51),
    (1, 8): (153, 0, 0),
    (1, 2): (153, 51, 0),
    (2, 3): (153, 102, 0),
    (3, 4): (153, 153, 0),
    (1, 5): (102, 153, 0),
    (5, 6): (51, 153, 0),
    (6, 7): (0, 153, 0),
    (8, 9): (0, 153, 51),
    (9, 10): (0, 153, 102),
    (10, 11): (0, 153, 153),
    (11, 24): (0, 153, 153),
    (11, 22): (0, 153, 153),
    (22, 23): (0, 153, 153),
    (8, 12): (0, 102, 153),
    (12, 13): (0, 51, 153),
    (13, 14): (0, 0, 153),
    (14, 21): (0, 0, 153),
    (14, 19): (0, 0, 153),
    (19, 20): (0, 0, 153),
}
FINGERS = [(204, 0, 0), (163, 204, 0), (0, 204, 82), (0, 82, 204), (163, 0, 204)]
FACE = [
    [17, 18, 19, 20, 21],
    [22, 23, 24, 25, 26],
    [27, 28, 29, 30],
    [31, 32, 33, 34, 35],
    [36, 37, 38, 39],
    [39, 40, 41, 36],
    [42, 43, 44, 45],
    [45, 46, 47, 42],
    [48, 49, 50, 51, 52, 53, 54],
    [54, 55, 56, 57, 58, 59, 48],
]


def slow_line(
    canvas: NDArray[np.uint8], ends: NDArray[np.float64], colour: tuple[int, int, int], width: int
) -> None:
    pixels = rasterize_curve(ends)
    if 0 in ends[:, 0] or not len(pixels):
        return
    for i in range(-width, width):
        for j in range(-width, width):
            slow_stamp(canvas, pixels, i, j, colour)
    for i in range(-2 * width, 2 * width):
        for j in range(-2 * width, 2 * width):
            if i * i + j * j < (2 * width) ** 2:
                slow_stamp(canvas, pixels[[0, -1]], i, j, colour)


def slow_stamp(
    canvas: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    i: int,
    j: int,
    colour: tuple[int, int, int],
) -> None:
    h, w, _ = canvas.shape
    cells = {(min(max(y + i, 0), h - 1), min(max(x + j, 0), w - 1)) for x, y in pixels.tolist()}
    black = not any(canvas[cell].any() for cell in cells)
    for cell in cells:
        canvas[cell] = (
            colour
            if black
            else [int((int(a) + b) / 2) for a, b in zip(canvas[cell], colour, strict=True)]
        )


def slow_person(person: Person, basic: bool) -> NDArray[np.uint8]:
    canvas = np.zeros((*SIZE[::-1], 3), np.uint8)
    for (a, b), colour in LIMBS.items():
        if basic and (a, b) in HEAD:
            continue
        if person.body[a, 2] > 0.01 and person.body[b, 2] > 0.01:
            slow_line(canvas, person.body[[a, b], :2], colour, 3)
    for hand in () if basic else (person.left_hand, person.right_hand):
        for finger, colour in enumerate(FINGERS):
            chain = [0, *range(4 * finger + 1, 4 * finger + 5)]
            if all(hand[i, 2] > 0.01 for i in chain):
                for a, b in zip(chain, chain[1:], strict=False):
                    slow_line(canvas, hand[[a, b], :2], colour, 1)
    for run in () if basic else FACE:
        if all(person.face[i, 2] > 0.1 for i in run):
            for a, b in zip(run, run[1:], strict=False):
                slow_line(canvas, person.face[[a, b], :2], (255, 255, 255), 1)
    return canvas


def somebody(seed: int, missing: float = 0.1) -> Person:
    """Points all over and a little beyond the image; a tenth of them missing, as detectors say it: all zero."""
    rng = np.random.default_rng(seed)

    def some(count: int, centre: tuple[float, float], spread: float) -> NDArray[np.float64]:
        points = np.concatenate(
            [rng.normal(centre, spread, (count, 2)), rng.uniform(0.02, 1, (count, 1))], axis=1
        )
        points[rng.random(count) < missing] = 0
        return points

    x, y = SIZE[0] / 2, SIZE[1] / 2
    return Person(
        some(25, (x, y), 30),
        some(21, (x - 30, y), 8),
        some(21, (x + 30, y), 8),
        some(68, (x, 20), 12),
    )


def drawn(person: Person, basic: bool = False) -> NDArray[np.uint8]:
    return draw_strokes(
        (stroke for unit in iter_limb_groups(person, basic) for stroke in unit), SIZE
    )


@pytest.mark.parametrize("basic", [False, True])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_drawn_person_matches_its_definition(basic: bool, seed: int) -> None:
    person = somebody(seed)
    assert np.array_equal(drawn(person, basic), slow_person(person, basic))


def test_limb_with_a_missing_joint_is_not_drawn() -> None:
    person = somebody(0, missing=0)
    body = person.body.copy()
    body[1] = 0  # the neck: no limb to it
    alone = Person(
        body, *(np.zeros_like(part) for part in (person.left_hand, person.right_hand, person.face))
    )
    confident = body.copy()
    confident[1] = [0, 0, 0.9]  # some detectors say so, and x = 0 still means missing
    without = [pair for pair in LIMBS if 1 not in pair]
    assert sum(len(unit) for unit in iter_limb_groups(alone, False)) == len(without)
    assert np.array_equal(drawn(alone), drawn(replace(alone, body=confident)))


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Two people, the second the larger, and DensePose with every part."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)).save(
        tmp_path / "image.png"
    )
    parts = rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    parts[..., 2] = np.arange(SIZE[0]) % 25
    Image.fromarray(parts).save(tmp_path / "parts.png")
    people = [somebody(1), somebody(2)]
    people[0].body[:, :2] = 40 + people[0].body[:, :2] / 10
    keys = {"body": "pose", "left_hand": "hand_left", "right_hand": "hand_right", "face": "face"}
    found = [
        {f"{key}_keypoints_2d": getattr(p, name).flatten().tolist() for name, key in keys.items()}
        for p in people
    ]
    (tmp_path / "pose_keypoints.json").write_text(json.dumps({"people": found}))
    return {
        "image": tmp_path / "image.png",
        "densepose": tmp_path / "parts.png",
        "openpose": tmp_path / "pose_keypoints.json",
    }


def numbers_of(pose: PoseFrameReader, paths: dict[str, Path], seed: int | None) -> torch.Tensor:
    """The condition as networks see it."""
    rng = None if seed is None else np.random.default_rng(seed)
    return pose.normalization(pose.read_frame(paths, AS_IT_IS, rng).condition)


def openpose_of(
    pose: PoseFrameReader, paths: dict[str, Path], seed: int | None = None
) -> torch.Tensor:
    return numbers_of(replace(pose, uses_densepose=False), paths, seed)


def densepose_of(
    pose: PoseFrameReader, paths: dict[str, Path], seed: int | None = None
) -> torch.Tensor:
    return numbers_of(replace(pose, uses_openpose=False), paths, seed)


def test_condition_has_six_channels_of_the_center_crop(paths: dict[str, Path]) -> None:
    maps = POSE.read_frame(paths, AS_IT_IS, None)
    assert (
        maps.condition.shape == (6, 96, 64)
        and maps.image is not None
        and maps.image.shape == (3, 96, 64)
    )
    assert torch.equal(
        POSE.normalization(maps.condition),
        torch.cat([densepose_of(POSE, paths), openpose_of(POSE, paths)]),
    )
    image = np.array(Image.open(paths["image"]))[:, 48:112]
    assert np.array_equal(maps.image.permute(1, 2, 0), image)
    assert POSE.read_reference_frame(paths, is_train=False).size == SIZE


@pytest.mark.parametrize(
    ("width", "start", "stop"), [(128, 32, 96), (160, 48, 112), (512, 128, 384), (910, 231, 679)]
)
def test_middle_columns_match_hand_computed_values(width: int, start: int, stop: int) -> None:
    assert center_crop_columns(width) == slice(start, stop)


def test_image_too_narrow_for_the_center_crop_is_refused() -> None:
    with pytest.raises(UserError, match="of 127 columns .*--loadSize"):
        center_crop_columns(127)


def test_folders_are_those_of_the_selected_conditions() -> None:
    assert list(POSE.folder_specs(uses_images=False)) == ["image", "densepose", "openpose"]
    assert list(replace(POSE, uses_densepose=False).folder_specs(uses_images=True)) == [
        "image",
        "openpose",
    ]
    assert list(replace(POSE, uses_openpose=False).folder_specs(uses_images=True)) == [
        "image",
        "densepose",
    ]


def test_densepose_ids_span_the_value_range() -> None:
    pixels = np.zeros((1, 25, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = 255, np.arange(25)
    tensor = normalize_densepose(torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.allclose(tensor[2, 0], torch.linspace(-1, 1, 25), atol=1e-6)
    assert (tensor[0] == 1).all() and (tensor[1] == -1).all()


def test_canvases_of_people_are_added_modulo_256(paths: dict[str, Path]) -> None:
    both = openpose_of(POSE, paths)
    found = json.loads(paths["openpose"].read_text())["people"]
    alone = []
    for person in found:
        paths["openpose"].write_text(json.dumps({"people": [person]}))
        alone.append(((openpose_of(POSE, paths) + 1) * 127.5).round().to(torch.uint8))
    assert (alone[0].int() + alone[1].int() > 255).any()
    assert torch.equal(((both + 1) * 127.5).round().to(torch.uint8), alone[0] + alone[1])


def test_people_largest_draws_only_the_largest_person(paths: dict[str, Path]) -> None:
    largest = openpose_of(replace(POSE, person_selection="largest"), paths)
    people = json.loads(paths["openpose"].read_text())["people"]
    paths["openpose"].write_text(json.dumps({"people": people[1:]}))
    assert torch.equal(largest, openpose_of(POSE, paths))
    paths["openpose"].write_text('{"people": []}')
    assert (openpose_of(replace(POSE, person_selection="largest"), paths) == -1).all()


def test_test_phase_uses_no_randomness(paths: dict[str, Path]) -> None:
    eager = replace(POSE, drop_prob=1.0, remove_face_labels=True)
    assert torch.equal(
        eager.read_frame(paths, AS_IT_IS, None).condition,
        POSE.read_frame(paths, AS_IT_IS, None).condition,
    )


def test_training_drops_limbs_at_random(paths: dict[str, Path]) -> None:
    all_dropped = replace(POSE, drop_prob=1.0)
    assert (openpose_of(all_dropped, paths, seed=0) == -1).all()
    background = densepose_of(POSE, paths)[2] == -1
    dropped = densepose_of(all_dropped, paths, seed=0)
    assert (dropped[:, ~background] == -1).all()
    assert torch.equal(
        dropped[:, background], densepose_of(POSE, paths)[:, background]
    )  # id 0 is no part
    none_dropped = replace(POSE, drop_prob=0.0)
    for read in (openpose_of, densepose_of):
        assert torch.equal(read(none_dropped, paths, seed=0), read(POSE, paths))
        some = [read(POSE, paths, seed=seed) for seed in (0, 0, 1)]
        assert torch.equal(some[0], some[1]) and not torch.equal(some[0], some[2])


def test_limbs_are_dropped_with_probability_drop_prob(paths: dict[str, Path]) -> None:
    whole = densepose_of(POSE, paths)
    shown = whole[2].unique()[1:]
    counts = [len(densepose_of(POSE, paths, seed=seed)[2].unique()) - 1 for seed in range(40)]
    assert np.mean(counts) / len(shown) == pytest.approx(0.8, abs=0.05)


def test_face_labels_are_removed_in_training(paths: dict[str, Path]) -> None:
    faceless = replace(POSE, remove_face_labels=True, drop_prob=0.0)
    whole, trained = densepose_of(faceless, paths), densepose_of(faceless, paths, seed=0)
    ids = ((whole[2] + 1) * 12).round()
    assert (ids >= 23).any() and (trained[:, ids >= 23] == -1).all()
    assert torch.equal(trained[:, ids < 23], whole[:, ids < 23])
    assert torch.equal(
        openpose_of(faceless, paths, seed=0), openpose_of(faceless, paths)
    )  # no noise without dropping
    assert not torch.equal(
        openpose_of(replace(faceless, drop_prob=1e-9), paths, seed=0), openpose_of(faceless, paths)
    )


def test_openpose_overwrites_densepose() -> None:
    condition = torch.full((2, 6, 1, 3), -1.0)
    condition[:, :3, :, :2] = 0.5
    condition[:, 4, :, 1:] = 0.25  # green alone
    image = pose_to_image(condition)
    assert image[0, :, 0].T.tolist() == [[0.5, 0.5, 0.5], [-1, 0.25, -1], [-1, 0.25, -1]]
    assert torch.equal(pose_to_image(condition[:, 3:]), condition[:, 3:])


def test_other_densepose_is_refused_by_name(paths: dict[str, Path]) -> None:
    Image.new("RGB", SIZE, (0, 0, 25)).save(paths["densepose"])
    with pytest.raises(
        UserError, match=r"parts\.png: its third channel goes up to 25; expected DensePose part ids"
    ):
        POSE.read_frame(paths, AS_IT_IS, None)
    Image.new("RGB", (80, 96)).save(paths["densepose"])
    with pytest.raises(UserError, match=r"image\.png is 160x96, .*parts\.png is 80x96"):
        POSE.read_frame(paths, AS_IT_IS, None)
