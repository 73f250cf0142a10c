"""Tests of reading OpenPose files: all variants in use are read, others refused. (Face files: test_face.)"""

import json
from pathlib import Path

import numpy as np
import pytest

from data.keypoints import read_people
from util.errors import UserError

BODY_TEMPLATE = '{"people": [{"pose_keypoints_2d": [' + ",".join("N" * 75) + "]}]}"


def make_points(count: int, start: int = 1) -> list[float]:
    """Return x = 10 i, y = 20 i, confidence 0.9 for i = start, start + 1, ..."""
    return [value for i in range(start, start + count) for value in (10.0 * i, 20.0 * i, 0.9)]


def write_people(folder: Path, *people: object) -> Path:
    (folder / "pose.json").write_text(json.dumps({"version": 1.2, "people": people}))
    return folder / "pose.json"


def test_body_25_hands_and_70_face_points(tmp_path: Path) -> None:
    (person,) = read_people(
        write_people(
            tmp_path,
            {
                "pose_keypoints_2d": make_points(25),
                "hand_left_keypoints_2d": make_points(21),
                "hand_right_keypoints_2d": make_points(21, 2),
                "face_keypoints_2d": make_points(70),
            },
        )
    )
    assert person.body.shape == (25, 3) and person.face.shape == (68, 3)
    assert person.body[24].tolist() == [250, 500, 0.9]
    assert (person.left_hand[0, 0], person.right_hand[0, 0]) == (10, 20)


def test_older_key_names_and_68_face_points(tmp_path: Path) -> None:
    (old,) = read_people(
        write_people(
            tmp_path, {"pose_keypoints": make_points(25), "face_keypoints": make_points(68)}
        )
    )
    assert old.body[0, 0] == 10
    assert old.face[67, 0] == 680


@pytest.mark.parametrize("person", [{}, {"pose_keypoints_2d": [], "face_keypoints_2d": None}])
def test_absent_keypoints_have_zero_confidence(tmp_path: Path, person: dict[str, object]) -> None:
    (absent,) = read_people(write_people(tmp_path, person))
    arrays = (absent.body, absent.left_hand, absent.right_hand, absent.face)
    assert [points.shape for points in arrays] == [(25, 3), (21, 3), (21, 3), (68, 3)]
    assert not any(points.any() for points in arrays)


def test_file_without_people_gives_no_people(tmp_path: Path) -> None:
    assert read_people(write_people(tmp_path)) == []


def test_coco_18_becomes_body_25(tmp_path: Path) -> None:
    """COCO names: 8 right hip, 11 left hip, 13 left ankle, 14 right eye, 17 left ear."""
    (person,) = read_people(write_people(tmp_path, {"pose_keypoints_2d": make_points(18)}))
    x = (person.body[:, 0] / 10 - 1).tolist()
    assert x[:8] == list(range(8))
    assert x[8] == (8 + 11) / 2  # the middle hip
    assert x[9:19] == list(range(8, 18))
    assert not person.body[19:].any()  # no feet


def test_coco_18_without_a_hip_has_no_middle_hip(tmp_path: Path) -> None:
    body = make_points(18)
    body[3 * 11 : 3 * 12] = [0, 0, 0]
    (person,) = read_people(write_people(tmp_path, {"pose_keypoints_2d": body}))
    assert not person.body[8].any()
    assert person.body[9].any()


def test_area_counts_only_confident_points(tmp_path: Path) -> None:
    body = make_points(25)
    body[2] = 0.01  # confidence of the first point: not detected
    person, empty = read_people(write_people(tmp_path, {"pose_keypoints_2d": body}, {}))
    assert person.area == (250 - 20) * (500 - 40)
    assert empty.area == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("9" * 5000, "no JSON"),
        ("[]", "no list `people`"),
        ("{}", "no list `people`"),
        ('{"people": {}}', "no list `people`"),
        ('{"people": [3]}', "no list `people`"),
        ('{"people": [{"pose_keypoints_2d": 3}]}', "pose_keypoints is no list of numbers"),
        ('{"people": [{"pose_keypoints_2d": {"a": 1}}]}', "pose_keypoints is no list of numbers"),
        (
            '{"people": [{"face_keypoints_2d": ["1", "2", "3"]}]}',
            "face_keypoints is no list of numbers",
        ),
        (
            '{"people": [{"pose_keypoints_2d": [true, true, true]}]}',
            "pose_keypoints is no list of numbers",
        ),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "of 3 numbers instead of 75 or 54"),
        ('{"people": [{"hand_left_keypoints_2d": [1, 2]}]}', "of 2 numbers instead of 63"),
        (BODY_TEMPLATE.replace("N", "NaN"), "a coordinate of nan"),
        (BODY_TEMPLATE.replace("N", "1e999"), "a coordinate of inf"),
        (BODY_TEMPLATE.replace("N", "1e7"), "a coordinate of 1e\\+07"),
        (BODY_TEMPLATE.replace("N", "1" * 400), "a number too large"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pose.json").write_text(text)
    with pytest.raises(UserError, match=rf"pose\.json: .*{message}.*; expected") as error:
        read_people(tmp_path / "pose.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff", None])
def test_no_text_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "pose.json").write_bytes(content)
    with pytest.raises(UserError, match=r"pose\.json: "):
        read_people(tmp_path / "pose.json")


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "pose.json").write_text('{"people": []}', encoding="utf-8-sig")
    assert np.array_equal(read_people(tmp_path / "pose.json"), [])
