"""Tests of the pose mode: drawing against simple loops, and augmentation. (Whole images: tests/parity.)"""

import json
from dataclasses import replace
from itertools import pairwise
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
from tests.frame_readers import POSE_READER
from util.errors import UserError

POSE = replace(POSE_READER, drop_prob=0.2)
SIZE = (160, 96)
UNCHANGED = FrameTransform(SIZE)
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


def draw_reference_line(
    canvas: NDArray[np.uint8], ends: NDArray[np.float64], color: tuple[int, int, int], width: int
) -> None:
    """Draw a line and its end discs; `width` is half the side of the brush."""
    pixels = rasterize_curve(ends)
    if 0 in ends[:, 0] or not len(pixels):
        return
    for i in range(-width, width):
        for j in range(-width, width):
            stamp_reference(canvas, pixels, i, j, color)
    for i in range(-2 * width, 2 * width):
        for j in range(-2 * width, 2 * width):
            if i * i + j * j < (2 * width) ** 2:
                stamp_reference(canvas, pixels[[0, -1]], i, j, color)


def stamp_reference(
    canvas: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    i: int,
    j: int,
    color: tuple[int, int, int],
) -> None:
    """Stamp pixels moved by the offset (row i, column j)."""
    h, w, _ = canvas.shape
    cells = {(min(max(y + i, 0), h - 1), min(max(x + j, 0), w - 1)) for x, y in pixels.tolist()}
    is_black = not any(canvas[cell].any() for cell in cells)
    for cell in cells:
        if is_black:
            canvas[cell] = color
        else:
            canvas[cell] = [int((int(a) + b) / 2) for a, b in zip(canvas[cell], color, strict=True)]


def draw_reference_person(person: Person, basic: bool) -> NDArray[np.uint8]:
    canvas = np.zeros((*SIZE[::-1], 3), np.uint8)
    for (a, b), color in LIMBS.items():
        if basic and (a, b) in HEAD:
            continue
        if person.body[a, 2] > 0.01 and person.body[b, 2] > 0.01:
            draw_reference_line(canvas, person.body[[a, b], :2], color, 3)
    if basic:
        return canvas
    for hand in (person.left_hand, person.right_hand):
        for finger, color in enumerate(FINGERS):
            chain = [0, *range(4 * finger + 1, 4 * finger + 5)]
            if all(hand[i, 2] > 0.01 for i in chain):
                for a, b in pairwise(chain):
                    draw_reference_line(canvas, hand[[a, b], :2], color, 1)
    for polyline in FACE:
        if all(person.face[i, 2] > 0.1 for i in polyline):
            for a, b in pairwise(polyline):
                draw_reference_line(canvas, person.face[[a, b], :2], (255, 255, 255), 1)
    return canvas


def make_person(seed: int, missing: float = 0.1) -> Person:
    """Return random points in and slightly outside the image.

    A share `missing` of them is all zero, as detectors write it.
    """
    rng = np.random.default_rng(seed)

    def make_points(count: int, center: tuple[float, float], spread: float) -> NDArray[np.float64]:
        coordinates = rng.normal(center, spread, (count, 2))
        confidence = rng.uniform(0.02, 1, (count, 1))
        points = np.concatenate([coordinates, confidence], axis=1)
        points[rng.random(count) < missing] = 0
        return points

    x, y = SIZE[0] / 2, SIZE[1] / 2
    return Person(
        make_points(25, (x, y), 30),
        make_points(21, (x - 30, y), 8),
        make_points(21, (x + 30, y), 8),
        make_points(68, (x, 20), 12),
    )


def draw_person(person: Person, basic: bool = False) -> NDArray[np.uint8]:
    groups = iter_limb_groups(person, basic)
    return draw_strokes((stroke for group in groups for stroke in group), SIZE)


@pytest.mark.parametrize("basic", [False, True])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_drawn_person_matches_its_definition(basic: bool, seed: int) -> None:
    person = make_person(seed)
    assert np.array_equal(draw_person(person, basic), draw_reference_person(person, basic))


def test_limb_with_a_missing_joint_is_not_drawn() -> None:
    body = make_person(0, missing=0).body
    body[1] = 0  # the neck
    hand, face = np.zeros((21, 3)), np.zeros((68, 3))
    person = Person(body, hand, hand, face)
    limbs_without_neck = [pair for pair in LIMBS if 1 not in pair]
    n_strokes = sum(len(group) for group in iter_limb_groups(person, uses_basic_points=False))
    assert n_strokes == len(limbs_without_neck)
    confident_body = body.copy()
    confident_body[1] = [0, 0, 0.9]  # some detectors write this; x = 0 means missing all the same
    assert np.array_equal(draw_person(person), draw_person(replace(person, body=confident_body)))


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Files of a frame: two people, the second one larger, and DensePose with every part."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)).save(
        tmp_path / "image.png"
    )
    parts = rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    parts[..., 2] = np.arange(SIZE[0]) % 25
    Image.fromarray(parts).save(tmp_path / "parts.png")
    people = [make_person(1), make_person(2)]
    people[0].body[:, :2] = 40 + people[0].body[:, :2] / 10
    keys = {"body": "pose", "left_hand": "hand_left", "right_hand": "hand_right", "face": "face"}
    content = [
        {
            f"{key}_keypoints_2d": getattr(person, field).flatten().tolist()
            for field, key in keys.items()
        }
        for person in people
    ]
    (tmp_path / "pose_keypoints.json").write_text(json.dumps({"people": content}))
    return {
        "image": tmp_path / "image.png",
        "densepose": tmp_path / "parts.png",
        "openpose": tmp_path / "pose_keypoints.json",
    }


def read_condition(pose: PoseFrameReader, paths: dict[str, Path], seed: int | None) -> torch.Tensor:
    """Return the normalized condition; seed None: as in test."""
    rng = None if seed is None else np.random.default_rng(seed)
    return pose.normalization(pose.read_frame(paths, UNCHANGED, rng).condition)


def read_openpose(
    pose: PoseFrameReader, paths: dict[str, Path], seed: int | None = None
) -> torch.Tensor:
    return read_condition(replace(pose, uses_densepose=False), paths, seed)


def read_densepose(
    pose: PoseFrameReader, paths: dict[str, Path], seed: int | None = None
) -> torch.Tensor:
    return read_condition(replace(pose, uses_openpose=False), paths, seed)


def to_uint8(condition: torch.Tensor) -> torch.Tensor:
    return ((condition + 1) * 127.5).round().to(torch.uint8)


def test_condition_has_six_channels_of_the_center_crop(paths: dict[str, Path]) -> None:
    sample = POSE.read_frame(paths, UNCHANGED, None)
    assert sample.condition.shape == (6, 96, 64)
    assert sample.image is not None and sample.image.shape == (3, 96, 64)
    assert torch.equal(
        POSE.normalization(sample.condition),
        torch.cat([read_densepose(POSE, paths), read_openpose(POSE, paths)]),
    )
    image = np.array(Image.open(paths["image"]))[:, 48:112]
    assert np.array_equal(sample.image.permute(1, 2, 0), image)
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
    both = read_openpose(POSE, paths)
    people = json.loads(paths["openpose"].read_text())["people"]
    canvases = []
    for person in people:
        paths["openpose"].write_text(json.dumps({"people": [person]}))
        canvases.append(to_uint8(read_openpose(POSE, paths)))
    assert (canvases[0].int() + canvases[1].int() > 255).any()
    assert torch.equal(to_uint8(both), canvases[0] + canvases[1])


def test_people_largest_draws_only_the_largest_person(paths: dict[str, Path]) -> None:
    largest = read_openpose(replace(POSE, person_selection="largest"), paths)
    people = json.loads(paths["openpose"].read_text())["people"]
    paths["openpose"].write_text(json.dumps({"people": people[1:]}))
    assert torch.equal(largest, read_openpose(POSE, paths))
    paths["openpose"].write_text('{"people": []}')
    assert (read_openpose(replace(POSE, person_selection="largest"), paths) == -1).all()


def test_test_phase_uses_no_randomness(paths: dict[str, Path]) -> None:
    augmenting = replace(POSE, drop_prob=1.0, remove_face_labels=True)
    assert torch.equal(
        augmenting.read_frame(paths, UNCHANGED, None).condition,
        POSE.read_frame(paths, UNCHANGED, None).condition,
    )


def test_training_drops_limbs_at_random(paths: dict[str, Path]) -> None:
    all_dropped = replace(POSE, drop_prob=1.0)
    assert (read_openpose(all_dropped, paths, seed=0) == -1).all()
    background = read_densepose(POSE, paths)[2] == -1
    dropped = read_densepose(all_dropped, paths, seed=0)
    assert (dropped[:, ~background] == -1).all()
    # Id 0 is not a part and never dropped.
    assert torch.equal(dropped[:, background], read_densepose(POSE, paths)[:, background])
    none_dropped = replace(POSE, drop_prob=0.0)
    for read in (read_openpose, read_densepose):
        assert torch.equal(read(none_dropped, paths, seed=0), read(POSE, paths))
        first, repeated, other = (read(POSE, paths, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first, repeated) and not torch.equal(first, other)


def test_limbs_are_dropped_with_probability_drop_prob(paths: dict[str, Path]) -> None:
    n_parts = len(read_densepose(POSE, paths)[2].unique()) - 1  # without the background
    counts = [len(read_densepose(POSE, paths, seed=seed)[2].unique()) - 1 for seed in range(40)]
    assert np.mean(counts) / n_parts == pytest.approx(0.8, abs=0.05)


def test_face_labels_are_removed_in_training(paths: dict[str, Path]) -> None:
    reader = replace(POSE, remove_face_labels=True, drop_prob=0.0)
    in_test, in_training = read_densepose(reader, paths), read_densepose(reader, paths, seed=0)
    ids = ((in_test[2] + 1) * 12).round()
    assert (ids >= 23).any() and (in_training[:, ids >= 23] == -1).all()
    assert torch.equal(in_training[:, ids < 23], in_test[:, ids < 23])
    # Points are jittered only if the drop probability is more than 0.
    openpose = read_openpose(reader, paths)
    assert torch.equal(read_openpose(reader, paths, seed=0), openpose)
    dropping = replace(reader, drop_prob=1e-9)
    assert not torch.equal(read_openpose(dropping, paths, seed=0), openpose)


def test_openpose_overwrites_densepose() -> None:
    condition = torch.full((2, 6, 1, 3), -1.0)
    condition[:, :3, :, :2] = 0.5
    condition[:, 4, :, 1:] = 0.25  # only green
    image = pose_to_image(condition)
    assert image[0, :, 0].T.tolist() == [[0.5, 0.5, 0.5], [-1, 0.25, -1], [-1, 0.25, -1]]
    assert torch.equal(pose_to_image(condition[:, 3:]), condition[:, 3:])


def test_other_densepose_is_refused_by_name(paths: dict[str, Path]) -> None:
    Image.new("RGB", SIZE, (0, 0, 25)).save(paths["densepose"])
    with pytest.raises(
        UserError, match=r"parts\.png: its third channel goes up to 25; expected DensePose part ids"
    ):
        POSE.read_frame(paths, UNCHANGED, None)
    Image.new("RGB", (80, 96)).save(paths["densepose"])
    with pytest.raises(UserError, match=r"image\.png is 160x96, .*parts\.png is 80x96"):
        POSE.read_frame(paths, UNCHANGED, None)
