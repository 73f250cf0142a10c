"""The short form of `scripts/fuzz_inputs.py`, and what hypothesis thinks of."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.sequences import find_sequences
from data.street import Street
from options.train import parse_train
from scripts.fuzz_inputs import attack
from scripts.fuzz_kinds import Kind, kinds
from util.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:::PIL.TiffImagePlugin")  # says which broken tag it does without
quick = settings(max_examples=60, deadline=None, database=None, derandomize=True,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_what_is_broken_is_refused(kind: Kind, tmp_path: Path) -> None:
    verdicts, longest = attack(kind, 40, seed=1, folder=tmp_path)
    assert set(verdicts) <= {"refused", "as valid"}, verdicts
    assert verdicts["as valid"] >= 1 and verdicts["refused"] > 20  # the valid one among them is read
    assert longest < 10


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
@given(content=st.binary(max_size=400))
@quick
def test_bytes_of_any_kind_are_refused(kind: Kind, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"any{kind.suffix}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="PIL.TiffImagePlugin")
        try:
            assert kind.read(path)
        except UserError as refusal:
            assert "\n" not in str(refusal)


@given(argv=st.lists(st.sampled_from(["--ngf", "--lr", "--name", "--fg_labels", "--norm", "--seed", "x", "8", "-1"])
                     | st.text(max_size=8), max_size=6))
@quick
def test_command_lines_are_taken_or_refused(argv: list[str]) -> None:
    if {"-h", "--help"} & set(argv):
        return
    try:
        parse_train(argv)
    except UserError as refusal:
        assert "\n" not in str(refusal)


def frames(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / name)


def refusal(root: Path, allow_links: bool = False) -> str:
    streams = Street(label_nc=3, input_nc=3, use_instance=False).streams(picture=False)
    with pytest.raises(UserError) as caught:
        find_sequences(root, "train", streams, allow_links)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()  # can be printed anywhere
    return str(caught.value)


def test_a_link_out_of_the_data_is_followed_only_when_asked(tmp_path: Path) -> None:
    frames(tmp_path / "elsewhere", "secret.png")
    frames(tmp_path / "data/train_A/s", "1.png")
    (tmp_path / "data/train_A/s/2.png").symlink_to(tmp_path / "elsewhere/secret.png")
    assert "secret.png, outside the data root" in refusal(tmp_path / "data")
    streams = Street(label_nc=3, input_nc=3, use_instance=False).streams(picture=False)
    assert len(find_sequences(tmp_path / "data", "train", streams, allow_links=True)[0]) == 2


def test_links_within_the_data_and_a_linked_root_are_fine(tmp_path: Path) -> None:
    frames(tmp_path / "real/train_A/s", "1.png")
    (tmp_path / "real/train_A/t").symlink_to(tmp_path / "real/train_A/s")
    (tmp_path / "data").symlink_to(tmp_path / "real")
    streams = Street(label_nc=3, input_nc=3, use_instance=False).streams(picture=False)
    assert [len(sequence) for sequence in find_sequences(tmp_path / "data", "train", streams)] == [1, 1]


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    frames(tmp_path / "train_A/s", "1.png")
    (tmp_path / "train_A/t").symlink_to(tmp_path)
    assert "a link to a folder that holds it" in refusal(tmp_path, allow_links=True)


def test_names_that_cannot_be_printed_are_refused(tmp_path: Path) -> None:
    frames(tmp_path / "train_A/s", "1.png")
    (tmp_path / "train_A/s/1.png").rename(tmp_path / "train_A/s" / os.fsdecode(b"\xff.png"))
    assert "rename it" in refusal(tmp_path)
