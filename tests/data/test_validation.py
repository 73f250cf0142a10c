"""Tests of data/validation.py: one error at a time is planted in valid data and must be reported."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.frame_reader import FrameReader
from data.sequences import find_sequences
from data.street import StreetFrameReader
from data.synthetic import make_toy_data
from data.transforms import TransformConfig
from data.validation import (
    _spread_frame_indices,
    convert_to_label_ids,
    inspect_sequence,
    run_quick_check,
    suggest_flags,
)
from models.networks.input_encoding import one_hot
from tests.frame_readers import FACE_READER, POSE_READER, STREET_READER
from util.errors import UserError
from util.images.visualization import CITYSCAPES_TRAIN_ID_TO_ID

READERS: dict[str, FrameReader] = {
    "street": STREET_READER,
    "face": replace(FACE_READER, uses_canny=True),
    "pose": POSE_READER,
}
THREE_LABELS = StreetFrameReader(label_nc=3, input_nc=3, use_instance=False)
UNCHANGED = TransformConfig(load_size=32, fine_size=32, resize_or_crop="none", uses_flip=False)
LABELS = np.zeros((32, 32), np.uint8)


# run_quick_check


def check(mode: str, root: Path, seconds: float = 60) -> str:
    """Run the quick check on the toy data under `root`."""
    reader = READERS[mode]
    sequences = find_sequences(root, "train", reader.folder_specs(uses_images=True))
    return run_quick_check(reader, sequences, seconds)


@pytest.fixture()
def root(mode: str, tmp_path: Path) -> Path:
    """Toy data of a mode: 2 sequences of 4 frames."""
    return make_toy_data(mode, tmp_path, sequences=2, frames=4, size=(128, 128))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def resize_image(path: Path) -> None:
    Image.open(path).resize((64, 128)).save(path)


def insert_label_35(path: Path) -> None:
    labels = np.array(Image.open(path))
    labels[3, 4] = 35
    Image.fromarray(labels).save(path)


def insert_part_25(path: Path) -> None:
    parts = np.array(Image.open(path))
    parts[3, 4, 2] = 25
    Image.fromarray(parts).save(path)


def remove_first_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def make_zero_width_face(path: Path) -> None:
    path.write_text("50,50\n" * 68)


def make_invalid_json(path: Path) -> None:
    path.write_text("{")


ERRORS = [
    ("street", "A", insert_label_35, "holds label 35; --label_nc 35 allows 0..34"),
    ("street", "A", truncate, "not an image"),
    ("street", "B", make_empty, "not an image"),
    ("street", "inst", resize_image, "is 64x128"),
    ("street", "B", truncate, "not an image"),
    ("face", "keypoints", remove_first_line, "67 lines; expected 68"),
    ("face", "keypoints", make_zero_width_face, "0 px wide"),
    ("face", "img", truncate, "not an image"),
    ("pose", "openpose", make_invalid_json, "no JSON"),
    ("pose", "densepose", insert_part_25, "goes up to 25"),
    ("pose", "densepose", resize_image, "is 64x128"),
    ("pose", "img", truncate, "not an image"),
]


@pytest.mark.parametrize(("mode", "folder", "plant_error", "message"), ERRORS)
def test_error_in_any_frame_is_reported_with_its_file(
    mode: str, folder: str, plant_error: Callable[[Path], None], message: str, root: Path
) -> None:
    file = sorted((root / f"train_{folder}/seq0002").iterdir())[2]
    plant_error(file)
    with pytest.raises(UserError, match=message) as error:
        check(mode, root)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("mode", READERS)
def test_valid_data_passes(mode: str, root: Path) -> None:
    assert check(mode, root) == "data: all 8 frames of 2 sequences are valid"


@pytest.mark.parametrize("mode", ["street"])
def test_zero_time_budget_checks_only_headers_and_reports_it(mode: str, root: Path) -> None:
    insert_label_35(sorted((root / "train_A/seq0002").iterdir())[3])
    assert "8 frames of 2 sequences have valid headers; 0 of them" in check(mode, root, seconds=0)
    resize_image(sorted((root / "train_B/seq0002").iterdir())[3])
    with pytest.raises(
        UserError, match=r"frame0004\.png is 128x128, .*B.*frame0004\.png is 64x128"
    ):
        check(mode, root, seconds=0)


def test_first_frames_are_checked_first_and_all_frames_eventually() -> None:
    order = list(_spread_frame_indices([3, 1, 5]))
    assert order[:3] == [0, 3, 4] and sorted(order) == list(range(9))
    assert order[3:] != sorted(order[3:])


# inspect_sequence


def write_sequence(root: Path, labels: dict[str, np.ndarray], image_names: list[str]) -> None:
    """Write one street sequence: label maps by file name, and black images."""
    for folder in ("train_A/s", "train_B/s"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, ids in labels.items():
        Image.fromarray(ids).save(root / "train_A/s" / name)
    for name in image_names:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(root / "train_B/s" / name)


def find_errors(root: Path, reader: StreetFrameReader = THREE_LABELS) -> list[str]:
    (sequence,) = find_sequences(root, "train", reader.folder_specs(uses_images=True))
    report = inspect_sequence(sequence, reader, UNCHANGED, n_frames_G=3, label_nc=reader.label_nc)
    return report.errors


def test_valid_data_has_no_errors(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(3)]
    write_sequence(tmp_path, dict.fromkeys(names, LABELS), names)
    assert find_errors(tmp_path) == []


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (np.full((32, 32), 255, np.uint8), "holds label 255"),
        (np.zeros((32, 32, 3), np.uint8), "holds RGB colors"),
        (np.zeros((16, 32), np.uint8), "the files of a frame must have one size"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, broken: np.ndarray, message: str) -> None:
    names = [f"{i}.png" for i in range(3)]
    write_sequence(tmp_path, {**dict.fromkeys(names, LABELS), "1.png": broken}, names)
    (error,) = find_errors(tmp_path)
    assert message in error and "1.png" in error


def test_short_undecodable_and_mispaired_frames_are_reported(tmp_path: Path) -> None:
    write_sequence(tmp_path, {"1.png": LABELS, "2.png": LABELS}, ["1.png", "3.png"])
    (tmp_path / "train_A/s/1.png").write_bytes(b"nothing")
    errors = " | ".join(find_errors(tmp_path))
    for message in ("too few", "2.png is paired with", "not an image that can be read"):
        assert message in errors


def test_unlabelled_pixels_have_no_channel(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(3)]
    ids = np.array([[0, 255], [2, 1]], np.uint8).repeat(16, 0).repeat(16, 1)
    write_sequence(tmp_path, dict.fromkeys(names, ids), names)
    reader = StreetFrameReader(label_nc=3, input_nc=3, use_instance=False, ignore_label=255)
    assert find_errors(tmp_path, reader) == []
    remapped = torch.from_numpy(np.where(ids == 255, 3, ids))[None]
    channels = one_hot(remapped, 3)
    assert channels[:, torch.from_numpy(ids == 255)].sum() == 0
    assert (channels.sum(0) == torch.from_numpy(ids != 255)).all()
    assert reader.condition_to_image(remapped).shape == (32, 32, 3)


# suggest_flags, convert_to_label_ids


def test_cityscapes_train_ids_are_recognized_and_converted_to_label_ids(tmp_path: Path) -> None:
    assert any("--to_ids" in line for line in suggest_flags(Counter({0: 5, 18: 2, 255: 9})))
    assert any("--label_nc 31" in line for line in suggest_flags(Counter({0: 5, 30: 2, 255: 9})))
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 18, 255]], np.uint8)).save(path)
    assert np.asarray(convert_to_label_ids(path)).tolist() == [
        [CITYSCAPES_TRAIN_ID_TO_ID[0], CITYSCAPES_TRAIN_ID_TO_ID[18], 0]
    ]
