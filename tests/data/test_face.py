"""Faces against the public release's own images (tests/parity), hand-worked figures and faults."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data.drawing import Points
from data.face import (
    ALL_FACE_PARTS,
    FaceFrameReader,
    add_forehead_points,
    change_proportions,
    compute_crop_box,
    draw_part_map,
    rasterize_contours,
)
from data.transforms import FrameTransform, TransformConfig, sample_transform
from util.errors import UserError

CASE = Path(__file__).parents[1] / "parity/cases/test_face"
CONFIG = TransformConfig(96, 512, "scaleWidth", uses_flip=False)
FACE = FaceFrameReader(uses_canny=True, uses_distance_maps=True, random_scale_points=False)


def frame(sequence: str, number: int) -> dict[str, Path]:
    name = f"{sequence}/frame{number:04}"
    data = CASE / "datasets/data"
    return {
        "condition": data / f"test_keypoints/{name}.txt",
        "image": data / f"test_img/{name}.png",
    }


@pytest.fixture
def points() -> Points:
    return np.loadtxt(frame("seq0000", 0)["condition"], delimiter=",")


@pytest.fixture
def geometry() -> FrameTransform:
    return sample_transform(
        FACE.read_reference_frame(frame("seq0000", 0), is_train=False), CONFIG, None
    )


def without_image(face_points: Points, folder: Path) -> dict[str, Path]:
    np.savetxt(folder / "face.txt", face_points, delimiter=",", fmt="%.4f")
    return {"condition": folder / "face.txt"}


@pytest.mark.parametrize("sequence", ["seq0000", "seq0001"])
@pytest.mark.parametrize("number", [2, 3])
def test_edge_map_equals_the_public_release(
    sequence: str, number: int, geometry: FrameTransform
) -> None:
    """Byte for byte. The release crops all sequences by the first one's face; ours does when told to."""
    maps = FACE.read_frame(frame(sequence, number), geometry, None)
    written = io.BytesIO()
    Image.fromarray(FACE.condition_to_image(maps.condition)[..., 0]).save(written, "JPEG")
    assert (
        written.getvalue()
        == (CASE / f"expected/{sequence}/real_A_frame{number:04}.jpg").read_bytes()
    )


def test_shapes_and_ranges(geometry: FrameTransform) -> None:
    maps = FACE.read_frame(frame("seq0000", 0), geometry, None)
    assert (maps.condition.shape, maps.condition.dtype) == ((15, 96, 96), torch.uint8)
    assert maps.condition.min() < 3 and maps.condition.max() > 229
    assert maps.image is not None and maps.image.shape == (3, 96, 96)
    assert maps.instance is not None and maps.instance.dtype == torch.int32
    assert maps.instance.unique().tolist() == [0, 1, 2, 3, 4, 5, 6]
    alone = FaceFrameReader(
        uses_canny=True, uses_distance_maps=False, random_scale_points=False
    ).read_frame(frame("seq0000", 0), geometry, None)
    assert torch.equal(alone.condition, maps.condition[:1])


def test_crop_is_computed_per_sequence() -> None:
    boxes = [
        FACE.read_reference_frame(frame(sequence, 0), is_train=False).box
        for sequence in ("seq0000", "seq0001")
    ]
    assert boxes == [(55, 28, 265, 238), (56, 28, 266, 238)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((320, 280), (55, 28, 265, 238)),  # 84 wide, so 210; centre 170, (3 * 116 + 186) // 4
        ((240, 220), (30, 10, 240, 220)),  # pushed back inside
        ((200, 150), (-10, -60, 200, 150)),  # does not fit: begins before the image
        ((np.inf, np.inf), (55, 28, 265, 238)),
    ],
)
def test_crop_box_matches_hand_computed_values(
    points: Points, size: tuple[float, float], expected: tuple[int, int, int, int]
) -> None:
    assert compute_crop_box(points, size) == expected


def test_forehead_points_mirror_the_jaw() -> None:
    points = np.zeros((68, 2))
    points[:17] = [[10.9 * i, 100.7 + 5 * min(i, 16 - i)] for i in range(17)]
    points[16, 1] += 1
    top = add_forehead_points(points)[68:]
    base = (100 + 101) / 2
    assert top.tolist() == [
        [int(10.9 * i), int(base + (base - int(points[i, 1])) * 2 // 3)] for i in range(15, 0, -1)
    ]


def test_parts_are_filled_in_order(points: Points) -> None:
    full = add_forehead_points(points)
    parts = draw_part_map(full, (320, 280))
    assert parts.shape == (280, 320)
    slow = np.zeros_like(parts)
    for label, numbers in [
        (1, [*range(17), *range(68, 83), 0]),
        (2, range(17, 22)),
        (2, range(22, 27)),
        (3, [28, 31, *range(31, 36), 35, 28]),
        (4, [36, 37, 38, 39, 39, 40, 41, 36]),
        (4, [42, 43, 44, 45, 45, 46, 47, 42]),
        (5, [*range(48, 55), *range(54, 60), 48]),
        (6, [*range(60, 65), *range(64, 68), 60]),
    ]:
        cv2.fillPoly(slow, [full[list(numbers)].astype(np.int32)], label)
    assert np.array_equal(parts, slow)


def test_there_is_a_distance_map_for_each_of_14_contours(
    points: Points, geometry: FrameTransform
) -> None:
    runs = rasterize_contours(add_forehead_points(points), (320, 280))
    assert len(runs) == 14
    full_size = FrameTransform((320, 280))
    maps = FACE.read_frame(frame("seq0000", 0), full_size, None)
    for run, distance in zip(runs, maps.condition[1:], strict=True):
        assert set(np.flatnonzero(distance < 1)) >= set(run.tolist())
    edges = maps.condition[0].numpy()
    assert set(np.unique(edges)) <= {0, 254, 255}
    assert (edges == 254).any()  # canny and contour together wrap


def test_change_of_proportions_matches_its_definition(points: Points) -> None:
    full = add_forehead_points(points)
    slow = full.copy()
    for runs in (
        [r for p in ALL_FACE_PARTS[1:3] for r in p.contours],
        [r for p in ALL_FACE_PARTS[4:6] for r in p.contours],
    ):
        middle = np.mean([slow[i, 0] for run in runs for i in run])
        for run in runs:
            own = np.mean([slow[i, 0] for i in run])
            for i in run:
                slow[i, 0] += middle + 0.9 * (own - middle) - own
    scales = [(0.9, 1), (1, 1), (1, 1), (0.9, 1), (1, 1.1), (1, 1.1), (0.9, 0.9), (0.9, 0.9)]
    for part, scale in zip(ALL_FACE_PARTS, scales, strict=True):
        listed = [i for run in part.contours for i in run]
        middle = np.mean([slow[i] for i in listed], axis=0)
        for i in set(listed):
            slow[i] = middle + (slow[i] - middle) * scale
    assert np.allclose(change_proportions(full), slow, atol=1e-9)
    assert not np.allclose(full, slow, atol=1)


def test_random_scale_points_moves_edges_in_test_alone_and_never_the_parts(
    geometry: FrameTransform,
) -> None:
    scaling = FaceFrameReader(uses_canny=True, uses_distance_maps=True, random_scale_points=True)
    plain, scaled = (
        face.read_frame(frame("seq0000", 0), geometry, None) for face in (FACE, scaling)
    )
    training = scaling.read_frame(frame("seq0000", 0), geometry, np.random.default_rng(0))
    assert not torch.equal(plain.condition, scaled.condition)
    assert torch.equal(plain.condition, training.condition)
    assert plain.instance is not None and scaled.instance is not None
    assert torch.equal(plain.instance, scaled.instance)


def test_edge_map_without_image_equals_that_with_a_large_image(
    points: Points, tmp_path: Path
) -> None:
    face = FaceFrameReader(uses_canny=False, uses_distance_maps=True, random_scale_points=False)
    assert list(face.folder_specs(uses_images=False)) == ["condition"]
    paths = without_image(points, tmp_path)
    Image.new("RGB", (900, 900)).save(tmp_path / "large.png")
    large = paths | {"image": tmp_path / "large.png"}
    lead = face.read_reference_frame(paths, is_train=False)
    assert lead == face.read_reference_frame(large, is_train=False)
    geometry = sample_transform(lead, CONFIG, None)
    maps, expected = face.read_frame(paths, geometry, None), face.read_frame(large, geometry, None)
    assert maps.image is None
    assert maps.instance is not None and expected.instance is not None
    assert torch.equal(maps.condition, expected.condition) and torch.equal(
        maps.instance, expected.instance
    )


def test_canny_edges_require_the_image() -> None:
    assert list(FACE.folder_specs(uses_images=False)) == ["condition", "image"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "0 lines"),
        ("1,2\n" * 67, "67 lines"),
        ("1,2\n" * 67 + "1;2\n", "'1;2'"),
        ("1,2\n" * 67 + "1,2,3", "'1,2,3'"),
        ("1,2\n" * 67 + "nan,2", "nan"),
        ("1,2\n" * 67 + "inf,2", "inf"),
        ("1,2\n" * 67 + "1,-1e30", "-1e\\+30"),
        ("1,2\n" * 68, "0 px wide"),
        ("1,2\n" * 67 + "9000,2", "8999 px wide"),
    ],
)
def test_broken_keypoints_are_refused_by_name(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "face.txt").write_text(text)
    with pytest.raises(UserError, match=rf"face\.txt: .*{found}.*; expected") as refusal:
        FACE.read_reference_frame({"condition": tmp_path / "face.txt"}, is_train=True)
    assert "\n" not in str(refusal.value)


def test_keypoints_outside_the_image_are_refused(points: Points, tmp_path: Path) -> None:
    paths = without_image(points + 320, tmp_path) | {"image": frame("seq0000", 0)["image"]}
    with pytest.raises(UserError, match="face.txt: the face lies outside its 320x280 image"):
        FACE.read_reference_frame(paths, is_train=True)


def test_face_partly_outside_the_image_is_drawn(
    points: Points, geometry: FrameTransform, tmp_path: Path
) -> None:
    paths = without_image(points + [150, 120], tmp_path) | {"image": frame("seq0000", 0)["image"]}
    assert FACE.read_frame(paths, geometry, None).condition[0].any()
