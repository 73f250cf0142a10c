"""Faults that a run would meet hours later, planted one at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import quick_check
from data.face import FaceFrameReader
from data.frame_reader import FrameReader
from data.pose import PoseFrameReader
from data.quick_check import run_quick_check
from data.sequences import find_sequences
from data.street import StreetFrameReader
from data.synthetic import make_toy_data
from util.errors import UserError

DOMAINS: dict[str, FrameReader] = {
    "street": StreetFrameReader(label_nc=35, input_nc=3, use_instance=True),
    "face": FaceFrameReader(uses_canny=True, uses_distance_maps=True, random_scale_points=False),
    "pose": PoseFrameReader(
        uses_densepose=True,
        uses_openpose=True,
        uses_basic_points=False,
        remove_face_labels=False,
        drop_prob=0,
        person_selection="all",
    ),
}


def check(mode: str, root: Path, seconds: float = 60) -> str:
    domain = DOMAINS[mode]
    return run_quick_check(
        domain, find_sequences(root, "train", domain.folder_specs(uses_images=True)), seconds
    )


@pytest.fixture()
def root(mode: str, tmp_path: Path) -> Path:
    return make_toy_data(mode, tmp_path, sequences=2, frames=4, size=(128, 128))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def resized(path: Path) -> None:
    Image.open(path).resize((64, 128)).save(path)


def label_35(path: Path) -> None:
    labels = np.array(Image.open(path))
    labels[3, 4] = 35
    Image.fromarray(labels).save(path)


def part_25(path: Path) -> None:
    parts = np.array(Image.open(path))
    parts[3, 4, 2] = 25
    Image.fromarray(parts).save(path)


def a_line_less(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def no_width(path: Path) -> None:
    path.write_text("50,50\n" * 68)


def no_json(path: Path) -> None:
    path.write_text("{")


FAULTS = [
    ("street", "A", label_35, "holds label 35; --label_nc 35 allows 0..34"),
    ("street", "A", cut, "not an image"),
    ("street", "B", empty, "not an image"),
    ("street", "inst", resized, "is 64x128"),
    ("street", "B", cut, "not an image"),
    ("face", "keypoints", a_line_less, "67 lines; expected 68"),
    ("face", "keypoints", no_width, "0 px wide"),
    ("face", "img", cut, "not an image"),
    ("pose", "openpose", no_json, "no JSON"),
    ("pose", "densepose", part_25, "goes up to 25"),
    ("pose", "densepose", resized, "is 64x128"),
    ("pose", "img", cut, "not an image"),
]


@pytest.mark.parametrize(("mode", "stream", "plant", "message"), FAULTS)
def test_error_in_any_frame_is_reported_with_its_file(
    mode: str, stream: str, plant: Callable[[Path], None], message: str, root: Path
) -> None:
    file = sorted((root / f"train_{stream}/seq0002").iterdir())[2]
    plant(file)
    with pytest.raises(UserError, match=message) as error:
        check(mode, root)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("mode", DOMAINS)
def test_valid_data_passes(mode: str, root: Path) -> None:
    assert check(mode, root) == "data: all 8 frames of 2 sequences were read through"


@pytest.mark.parametrize("mode", ["street"])
def test_zero_time_budget_checks_only_headers_and_reports_it(mode: str, root: Path) -> None:
    label_35(sorted((root / "train_A/seq0002").iterdir())[3])
    assert "8 frames of 2 sequences have sound headers, 0 of them" in check(mode, root, seconds=0)
    resized(sorted((root / "train_B/seq0002").iterdir())[3])
    with pytest.raises(
        UserError, match=r"frame0004\.png is 128x128, .*B.*frame0004\.png is 64x128"
    ):
        check(mode, root, seconds=0)


def test_first_frames_are_checked_first_and_all_frames_eventually() -> None:
    order = list(quick_check._spread_frame_indices([3, 1, 5]))
    assert order[:3] == [0, 3, 4] and sorted(order) == list(range(9))
    assert order[3:] != sorted(order[3:])
