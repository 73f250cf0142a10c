"""Synthetic data: file formats, determinism, and the ground-truth flow."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.synthetic import make_toy_data
from data.synthetic.sprites import (
    Sprite,
    apply_affine,
    compute_backward_flow,
    make_affine,
    make_full_mask,
    render_sprites,
)

ROOT = Path(__file__).parents[2]
IMAGE_STREAMS = {"street": "B", "face": "img", "pose": "img"}


def read_image(path):
    return np.asarray(Image.open(path))


def read_files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def toy_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("toys")
    for mode in IMAGE_STREAMS:
        make_toy_data(mode, root / mode, sequences=2, frames=4)
    return root


@pytest.mark.parametrize("mode", IMAGE_STREAMS)
def test_files_are_a_function_of_arguments_and_seed(tmp_path, mode):
    size = (128, 64)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_toy_data(
            mode,
            tmp_path / name,
            sequences=1,
            frames=2,
            size=size,
            seed=seed,
            phases=("train", "test"),
        )
    a, b, c = (read_files(tmp_path / name) for name in "abc")
    image = f"{IMAGE_STREAMS[mode]}/seq0001/frame0001.png"
    assert a == b
    assert a[f"train_{image}"] != c[f"train_{image}"] != c[f"test_{image}"]


@pytest.mark.parametrize("mode", IMAGE_STREAMS)
def test_flow_points_to_the_previous_frame(toy_data, mode):
    for sequence in (toy_data / mode / f"train_{IMAGE_STREAMS[mode]}").iterdir():
        previous, current = (
            read_image(sequence / f"frame000{t}.png").astype(np.float32) for t in (3, 4)
        )
        ground_truth = np.load(toy_data / mode / "train_flow" / sequence.name / "frame0004.npz")
        flow = ground_truth["flow"]
        visible = ground_truth["visible"]
        assert flow.dtype == np.float32 and flow.shape == (2, *current.shape[:2])
        assert visible.dtype == bool
        rows, columns = np.indices(visible.shape).astype(np.float32)
        warped = cv2.remap(previous, columns + flow[0], rows + flow[1], cv2.INTER_LINEAR)
        moving = visible & (np.hypot(*flow) > 0.5)
        assert visible.mean() > 0.85 and moving.sum() > 300
        warped_error = np.abs(warped - current)[moving].mean()
        unwarped_error = np.abs(previous - current)[moving].mean()
        assert warped_error < 2 and warped_error < unwarped_error / 3


def test_flow_of_a_whole_pixel_shift_is_exact():
    rng = np.random.default_rng(0)
    background_texture = rng.integers(0, 256, (20, 30, 3), np.uint8)
    background = Sprite(background_texture, make_full_mask((30, 20)), np.eye(3))
    box_texture = rng.integers(0, 256, (6, 8, 3), np.uint8)
    box = Sprite(box_texture, make_full_mask((8, 6)), make_affine(5, 7))
    moved_box = Sprite(box.texture, box.mask, make_affine(8, 6))  # 3 to the right, 1 up
    previous_sprites, sprites = [background, box], [background, moved_box]
    previous_frame = render_sprites(previous_sprites, (30, 20))
    frame = render_sprites(sprites, (30, 20))
    flow, visible = compute_backward_flow(
        sprites, previous_sprites, frame.sprite_index, previous_frame.sprite_index
    )
    is_box = np.zeros((20, 30), bool)
    is_box[6:12, 8:16] = True
    assert (frame.sprite_index == is_box).all()
    assert (flow[:, is_box] == [[-3], [1]]).all() and (flow[:, ~is_box] == 0).all()
    y, x = np.nonzero(visible)
    dx, dy = flow[:, y, x].astype(int)
    assert (previous_frame.image[y + dy, x + dx] == frame.image[y, x]).all()
    assert not visible[7:12, 5:8].any()  # background that the box has uncovered


def test_affine_rotates_about_its_center():
    affine = make_affine(10, 20, scale=(2, 1), degrees=90, pivot=(1, 1))
    np.testing.assert_allclose(
        apply_affine(affine, np.array([[1, 1], [2, 1], [1, 2]])), [[10, 20], [10, 22], [9, 20]]
    )


def test_street_formats(toy_data):
    for t in range(1, 5):
        labels, instances, image = (
            read_image(toy_data / f"street/train_{stream}/seq0001/frame000{t}.png")
            for stream in ("A", "inst", "B")
        )
        assert labels.dtype == np.uint8 and labels.shape == instances.shape == (128, 256)
        assert image.shape == (128, 256, 3)
        assert {7, 8, 11, 21, 23, 26} <= set(np.unique(labels).tolist()) <= set(range(35))
        things = instances >= 1000
        assert instances.dtype == np.uint16 and {26001, 26002} <= set(np.unique(instances).tolist())
        assert (labels == np.where(things, instances // 1000, instances)).all()


def test_face_formats(toy_data):
    for path in (toy_data / "face/train_keypoints").glob("*/*.txt"):
        points = np.loadtxt(path, delimiter=",", dtype=int)
        assert points.shape == (68, 2) and (points >= 0).all() and (points < 160).all()
        assert points[0, 0] < points[36, 0] < points[30, 0] < points[45, 0] < points[16, 0]
        assert points[19, 1] < points[37, 1] < points[33, 1] < points[51, 1] < points[8, 1]


def test_synthetic_faces_move_mouth_and_head(tmp_path):
    make_toy_data("face", tmp_path, sequences=1, frames=25, size=(192, 192))
    points = np.stack(
        [np.loadtxt(path, delimiter=",") for path in sorted(tmp_path.glob("train_keypoints/*/*"))]
    )
    mouth, eye = points[:, 66, 1] - points[:, 62, 1], points[:, 41, 1] - points[:, 37, 1]
    assert np.ptp(mouth) >= 3 and np.ptp(eye) >= 4 and np.ptp(points[:, 30, 0]) >= 5


def test_pose_formats(toy_data):
    for path in (toy_data / "pose/train_openpose").glob("*/*.json"):
        (person,) = json.loads(path.read_text())["people"]
        points = {name: np.reshape(values, (-1, 3)) for name, values in person.items()}
        assert {name: len(values) for name, values in points.items()} == {
            "pose_keypoints_2d": 25,
            "face_keypoints_2d": 70,
            "hand_left_keypoints_2d": 21,
            "hand_right_keypoints_2d": 21,
        }
        frame = path.parts[-2] + "/" + path.name.replace("_keypoints.json", ".png")
        parts = read_image(toy_data / "pose/train_densepose" / frame)[..., 2]
        assert set(np.unique(parts).tolist()) <= set(range(25))
        for joint, allowed in (
            (10, {7, 11}),
            (13, {8, 12}),
            (3, {16, 20}),
            (6, {15, 19}),
            (0, {23, 24}),
        ):
            x, y = np.rint(points["pose_keypoints_2d"][joint, :2]).astype(int)
            assert parts[y, x] in allowed, (path, joint)


def test_command_line_writes_the_data_set(tmp_path):
    flags = ["--mode", "street", "--sequences", "1", "--frames", "2", "--size", "64x32", "--out"]
    subprocess.run(
        [sys.executable, "scripts/make_toy_data.py", *flags, tmp_path],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{phase}_{stream}" for phase in ("train", "test") for stream in ("A", "B", "inst", "flow")
    }
    assert read_image(tmp_path / "test_B/seq0001/frame0002.png").shape == (32, 64, 3)
