"""Tests of the face mode: against images of the public release (tests/parity) and computed by hand."""

import io
from dataclasses import replace
from itertools import chain
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


def frame_paths(sequence: str, number: int) -> dict[str, Path]:
    """Return the files of a frame of the parity case."""
    name = f"{sequence}/frame{number:04}"
    data = CASE / "datasets/data"
    return {
        "condition": data / f"test_keypoints/{name}.txt",
        "image": data / f"test_img/{name}.png",
    }


@pytest.fixture
def points() -> Points:
    return np.loadtxt(frame_paths("seq0000", 0)["condition"], delimiter=",")


@pytest.fixture
def transform() -> FrameTransform:
    """The transform of the first sequence of the parity case."""
    reference = FACE.read_reference_frame(frame_paths("seq0000", 0), is_train=False)
    return sample_transform(reference, CONFIG, None)


def write_landmarks(points: Points, folder: Path) -> dict[str, Path]:
    """Write a keypoint file; return the paths of a frame without an image."""
    np.savetxt(folder / "face.txt", points, delimiter=",", fmt="%.4f")
    return {"condition": folder / "face.txt"}


@pytest.mark.parametrize("sequence", ["seq0000", "seq0001"])
@pytest.mark.parametrize("number", [2, 3])
def test_edge_map_equals_the_public_release(
    sequence: str, number: int, transform: FrameTransform
) -> None:
    """Compare the JPEG files byte for byte.

    The release crops all sequences by the first sequence's face, hence one transform for both.
    """
    sample = FACE.read_frame(frame_paths(sequence, number), transform, None)
    file = io.BytesIO()
    Image.fromarray(FACE.condition_to_image(sample.condition)[..., 0]).save(file, "JPEG")
    expected = CASE / f"expected/{sequence}/real_A_frame{number:04}.jpg"
    assert file.getvalue() == expected.read_bytes()


def test_shapes_and_ranges(transform: FrameTransform) -> None:
    sample = FACE.read_frame(frame_paths("seq0000", 0), transform, None)
    assert (sample.condition.shape, sample.condition.dtype) == ((15, 96, 96), torch.uint8)
    assert sample.condition.min() < 3 and sample.condition.max() > 229
    assert sample.image is not None and sample.image.shape == (3, 96, 96)
    assert sample.instance is not None and sample.instance.dtype == torch.int32
    assert sample.instance.unique().tolist() == [0, 1, 2, 3, 4, 5, 6]
    edges_only = replace(FACE, uses_distance_maps=False)
    edge_sample = edges_only.read_frame(frame_paths("seq0000", 0), transform, None)
    assert torch.equal(edge_sample.condition, sample.condition[:1])


def test_crop_is_computed_per_sequence() -> None:
    boxes = [
        FACE.read_reference_frame(frame_paths(sequence, 0), is_train=False).box
        for sequence in ("seq0000", "seq0001")
    ]
    assert boxes == [(55, 28, 265, 238), (56, 28, 266, 238)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((320, 280), (55, 28, 265, 238)),  # 84 wide, so 210; center 170, (3 * 116 + 186) // 4
        ((240, 220), (30, 10, 240, 220)),  # shifted into the image
        ((200, 150), (-10, -60, 200, 150)),  # larger than the image: starts outside
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
    forehead = add_forehead_points(points)[68:]
    base = (100 + 101) / 2
    assert forehead.tolist() == [
        [int(10.9 * i), int(base + (base - int(points[i, 1])) * 2 // 3)] for i in range(15, 0, -1)
    ]


def test_parts_are_filled_in_order(points: Points) -> None:
    points = add_forehead_points(points)
    part_map = draw_part_map(points, (320, 280))
    assert part_map.shape == (280, 320)
    expected = np.zeros_like(part_map)
    for label, indices in [
        (1, [*range(17), *range(68, 83), 0]),
        (2, range(17, 22)),
        (2, range(22, 27)),
        (3, [28, 31, *range(31, 36), 35, 28]),
        (4, [36, 37, 38, 39, 39, 40, 41, 36]),
        (4, [42, 43, 44, 45, 45, 46, 47, 42]),
        (5, [*range(48, 55), *range(54, 60), 48]),
        (6, [*range(60, 65), *range(64, 68), 60]),
    ]:
        cv2.fillPoly(expected, [points[list(indices)].astype(np.int32)], label)
    assert np.array_equal(part_map, expected)


def test_there_is_a_distance_map_for_each_of_14_contours(points: Points) -> None:
    contours = rasterize_contours(add_forehead_points(points), (320, 280))
    assert len(contours) == 14
    full_size = FrameTransform((320, 280))
    sample = FACE.read_frame(frame_paths("seq0000", 0), full_size, None)
    for contour, distance in zip(contours, sample.condition[1:], strict=True):
        assert set(np.flatnonzero(distance < 1)) >= set(contour.tolist())
    edges = sample.condition[0].numpy()
    assert set(np.unique(edges)) <= {0, 254, 255}
    assert (edges == 254).any()  # where a Canny edge and a contour meet, their sum wraps


def test_change_of_proportions_matches_its_definition(points: Points) -> None:
    points = add_forehead_points(points)
    expected = points.copy()
    for pair in (ALL_FACE_PARTS[1:3], ALL_FACE_PARTS[4:6]):  # brows, eyes
        contours = [contour for part in pair for contour in part.contours]
        pair_center = np.mean([expected[i, 0] for i in chain(*contours)])
        for contour in contours:
            center = np.mean([expected[i, 0] for i in contour])
            for i in contour:
                expected[i, 0] += pair_center + 0.9 * (center - pair_center) - center
    scales = [(0.9, 1), (1, 1), (1, 1), (0.9, 1), (1, 1.1), (1, 1.1), (0.9, 0.9), (0.9, 0.9)]
    for part, scale in zip(ALL_FACE_PARTS, scales, strict=True):
        indices = list(chain(*part.contours))
        center = np.mean([expected[i] for i in indices], axis=0)
        for i in set(indices):
            expected[i] = center + (expected[i] - center) * scale
    assert np.allclose(change_proportions(points), expected, atol=1e-9)
    assert not np.allclose(points, expected, atol=1)


def test_random_scale_points_moves_edges_in_test_alone_and_never_the_parts(
    transform: FrameTransform,
) -> None:
    paths = frame_paths("seq0000", 0)
    scaling = replace(FACE, random_scale_points=True)
    sample = FACE.read_frame(paths, transform, None)
    scaled = scaling.read_frame(paths, transform, None)
    training = scaling.read_frame(paths, transform, np.random.default_rng(0))
    assert not torch.equal(sample.condition, scaled.condition)
    assert torch.equal(sample.condition, training.condition)
    assert sample.instance is not None and scaled.instance is not None
    assert torch.equal(sample.instance, scaled.instance)


def test_edge_map_without_image_equals_that_with_a_large_image(
    points: Points, tmp_path: Path
) -> None:
    reader = replace(FACE, uses_canny=False)
    assert list(reader.folder_specs(uses_images=False)) == ["condition"]
    paths = write_landmarks(points, tmp_path)
    Image.new("RGB", (900, 900)).save(tmp_path / "large.png")
    paths_with_image = paths | {"image": tmp_path / "large.png"}
    reference = reader.read_reference_frame(paths, is_train=False)
    assert reference == reader.read_reference_frame(paths_with_image, is_train=False)
    transform = sample_transform(reference, CONFIG, None)
    sample = reader.read_frame(paths, transform, None)
    expected = reader.read_frame(paths_with_image, transform, None)
    assert sample.image is None
    assert sample.instance is not None and expected.instance is not None
    assert torch.equal(sample.condition, expected.condition)
    assert torch.equal(sample.instance, expected.instance)


def test_canny_edges_require_the_image() -> None:
    assert list(FACE.folder_specs(uses_images=False)) == ["condition", "image"]


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_broken_keypoints_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "face.txt").write_text(text)
    with pytest.raises(UserError, match=rf"face\.txt: .*{message}.*; expected") as error:
        FACE.read_reference_frame({"condition": tmp_path / "face.txt"}, is_train=True)
    assert "\n" not in str(error.value)


def test_keypoints_outside_the_image_are_refused(points: Points, tmp_path: Path) -> None:
    paths = write_landmarks(points + 320, tmp_path) | {"image": frame_paths("seq0000", 0)["image"]}
    with pytest.raises(UserError, match="face.txt: the face lies outside its 320x280 image"):
        FACE.read_reference_frame(paths, is_train=True)


def test_face_partly_outside_the_image_is_drawn(
    points: Points, transform: FrameTransform, tmp_path: Path
) -> None:
    paths = write_landmarks(points + [150, 120], tmp_path) | {
        "image": frame_paths("seq0000", 0)["image"]
    }
    assert FACE.read_frame(paths, transform, None).condition[0].any()
