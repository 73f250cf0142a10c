from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.dataset_report import convert_to_label_ids, inspect_sequence, suggest_flags
from data.sequences import find_sequences
from data.street import StreetFrameReader
from data.transforms import TransformConfig
from models.networks.input_encoding import one_hot
from util.images.visualization import CITYSCAPES_TRAIN_ID_TO_ID

AS_IT_IS = TransformConfig(load_size=32, fine_size=32, resize_or_crop="none", uses_flip=False)
STREET = StreetFrameReader(label_nc=3, input_nc=3, use_instance=False)


def write(root: Path, labels: dict[str, np.ndarray], images: list[str]) -> None:
    for folder in ("train_A/s", "train_B/s"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, ids in labels.items():
        Image.fromarray(ids).save(root / "train_A/s" / name)
    for name in images:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(root / "train_B/s" / name)


def faults(root: Path, street: StreetFrameReader = STREET) -> list[str]:
    (sequence,) = find_sequences(root, "train", street.folder_specs(uses_images=True))
    return inspect_sequence(
        sequence, street, AS_IT_IS, n_frames_G=3, label_nc=street.label_nc
    ).errors


FINE = np.zeros((32, 32), np.uint8)


def test_valid_data_has_no_errors(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(3)]
    write(tmp_path, dict.fromkeys(names, FINE), names)
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (np.full((32, 32), 255, np.uint8), "holds label 255"),
        (np.zeros((32, 32, 3), np.uint8), "holds RGB colours"),
        (np.zeros((16, 32), np.uint8), "the files of a frame must have one size"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, broken: np.ndarray, said: str) -> None:
    names = [f"{i}.png" for i in range(3)]
    write(tmp_path, {**dict.fromkeys(names, FINE), "1.png": broken}, names)
    (fault,) = faults(tmp_path)
    assert said in fault and "1.png" in fault


def test_short_undecodable_and_mispaired_frames_are_reported(tmp_path: Path) -> None:
    write(tmp_path, {"1.png": FINE, "2.png": FINE}, ["1.png", "3.png"])
    (tmp_path / "train_A/s/1.png").write_bytes(b"nothing")
    found = " | ".join(faults(tmp_path))
    assert all(
        words in found
        for words in ("too few", "2.png is paired with", "not an image that can be read")
    )


def test_unlabelled_pixels_have_no_channel(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(3)]
    ids = np.array([[0, 255], [2, 1]], np.uint8).repeat(16, 0).repeat(16, 1)
    write(tmp_path, dict.fromkeys(names, ids), names)
    ignoring = StreetFrameReader(label_nc=3, input_nc=3, use_instance=False, ignore_label=255)
    assert faults(tmp_path, ignoring) == []
    read = torch.from_numpy(np.where(ids == 255, 3, ids))[None]
    planes = one_hot(read, 3)
    assert planes[:, torch.from_numpy(ids == 255)].sum() == 0
    assert (planes.sum(0) == torch.from_numpy(ids != 255)).all()
    assert ignoring.condition_to_image(read).shape == (32, 32, 3)


def test_cityscapes_train_ids_are_recognized_and_converted_to_label_ids(tmp_path: Path) -> None:
    assert any("--to_ids" in line for line in suggest_flags(Counter({0: 5, 18: 2, 255: 9})))
    assert any("--label_nc 31" in line for line in suggest_flags(Counter({0: 5, 30: 2, 255: 9})))
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 18, 255]], np.uint8)).save(path)
    assert np.asarray(convert_to_label_ids(path)).tolist() == [
        [CITYSCAPES_TRAIN_ID_TO_ID[0], CITYSCAPES_TRAIN_ID_TO_ID[18], 0]
    ]
