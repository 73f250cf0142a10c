from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.findings import check_sequence, suggestions, to_ids
from data.geometry import GeometryConfig
from data.sequences import find_sequences
from data.street import Street
from models.conditions import one_hot
from util.pictures import CITYSCAPES_TRAINED

AS_IT_IS = GeometryConfig(load_size=32, fine_size=32, resize_or_crop="none", flip=False)
STREET = Street(label_nc=3, input_nc=3, use_instance=False)


def write(root: Path, labels: dict[str, np.ndarray], pictures: list[str]) -> None:
    for folder in ("train_A/s", "train_B/s"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, ids in labels.items():
        Image.fromarray(ids).save(root / "train_A/s" / name)
    for name in pictures:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(root / "train_B/s" / name)


def faults(root: Path, street: Street = STREET) -> list[str]:
    sequence, = find_sequences(root, "train", street.streams(picture=True))
    return check_sequence(sequence, street, AS_IT_IS, n_frames_G=3, label_nc=street.label_nc).faults


FINE = np.zeros((32, 32), np.uint8)


def test_good_data_has_no_faults(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(3)]
    write(tmp_path, dict.fromkeys(names, FINE), names)
    assert faults(tmp_path) == []


@pytest.mark.parametrize(("broken", "said"), [
    (np.full((32, 32), 255, np.uint8), "holds label 255"),
    (np.zeros((32, 32, 3), np.uint8), "holds RGB colours"),
    (np.zeros((16, 32), np.uint8), "the files of a frame must have one size"),
])
def test_faults_name_the_file(tmp_path: Path, broken: np.ndarray, said: str) -> None:
    names = [f"{i}.png" for i in range(3)]
    write(tmp_path, {**dict.fromkeys(names, FINE), "1.png": broken}, names)
    fault, = faults(tmp_path)
    assert said in fault and "1.png" in fault


def test_short_undecodable_and_mispaired_frames_are_found(tmp_path: Path) -> None:
    write(tmp_path, {"1.png": FINE, "2.png": FINE}, ["1.png", "3.png"])
    (tmp_path / "train_A/s/1.png").write_bytes(b"nothing")
    found = " | ".join(faults(tmp_path))
    assert all(words in found for words in ("too few", "2.png is paired with", "not a picture that can be read"))


def test_unlabelled_pixels_have_no_channel(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(3)]
    ids = np.array([[0, 255], [2, 1]], np.uint8).repeat(16, 0).repeat(16, 1)
    write(tmp_path, dict.fromkeys(names, ids), names)
    ignoring = Street(label_nc=3, input_nc=3, use_instance=False, ignore_label=255)
    assert faults(tmp_path, ignoring) == []
    read = torch.from_numpy(np.where(ids == 255, 3, ids))[None]
    planes = one_hot(read, 3)
    assert planes[:, torch.from_numpy(ids == 255)].sum() == 0
    assert (planes.sum(0) == torch.from_numpy(ids != 255)).all()
    assert ignoring.show(read).shape == (32, 32, 3)


def test_training_ids_are_recognised_and_turned_back(tmp_path: Path) -> None:
    assert any("--to_ids" in line for line in suggestions(Counter({0: 5, 18: 2, 255: 9})))
    assert any("--label_nc 31" in line for line in suggestions(Counter({0: 5, 30: 2, 255: 9})))
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 18, 255]], np.uint8)).save(path)
    assert np.asarray(to_ids(path)).tolist() == [[CITYSCAPES_TRAINED[0], CITYSCAPES_TRAINED[18], 0]]
