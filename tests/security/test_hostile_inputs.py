"""Untrusted input: a short form of `tests/fuzz/inputs.py`, arbitrary bytes and flags, and links."""

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
from data.street import StreetFrameReader
from options.train import parse_train
from tests.fuzz.inputs import fuzz_by_mutation
from tests.fuzz.targets import FuzzTarget, build_fuzz_targets
from util.errors import UserError

# Pillow warns of the broken tag that it ignores.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL.TiffImagePlugin")
quick = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


all_targets = pytest.mark.parametrize(
    "target", build_fuzz_targets(), ids=lambda target: target.name
)


@all_targets
def test_mutated_and_hostile_files_are_refused(target: FuzzTarget, tmp_path: Path) -> None:
    outcomes, slowest = fuzz_by_mutation(target, 40, seed=1, folder=tmp_path)
    assert set(outcomes) <= {"refused", "as valid"}, outcomes
    assert outcomes["as valid"] >= 1  # the valid input is among them
    assert outcomes["refused"] > 20
    assert slowest < 10


@all_targets
@given(content=st.binary(max_size=400))
@quick
def test_arbitrary_bytes_are_refused(target: FuzzTarget, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"any{target.suffix}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="PIL.TiffImagePlugin")
        try:
            assert target.check(path)
        except UserError as error:
            assert "\n" not in str(error)


arguments = st.sampled_from(
    ["--ngf", "--lr", "--name", "--fg_labels", "--norm", "--seed", "x", "8", "-1"]
)


@given(argv=st.lists(arguments | st.text(max_size=8), max_size=6))
@quick
def test_command_lines_are_accepted_or_refused(argv: list[str]) -> None:
    if {"-h", "--help"} & set(argv):
        return
    try:
        parse_train(argv)
    except UserError as error:
        assert "\n" not in str(error)


STREAMS = StreetFrameReader(label_nc=3, input_nc=3, use_instance=False).folder_specs(
    uses_images=False
)


def write_frames(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / name)


def find_sequences_error(root: Path, allow_links: bool = False) -> str:
    """Return the message of the error that the sequences under `root` cause."""
    with pytest.raises(UserError) as caught:
        find_sequences(root, "train", STREAMS, allow_links)
    message = str(caught.value)
    assert "\n" not in message
    message.encode()  # raises if the message cannot be printed
    return message


def test_symlink_out_of_the_data_is_followed_only_with_allow_links(tmp_path: Path) -> None:
    write_frames(tmp_path / "elsewhere", "secret.png")
    write_frames(tmp_path / "data/train_A/s", "1.png")
    (tmp_path / "data/train_A/s/2.png").symlink_to(tmp_path / "elsewhere/secret.png")
    assert "secret.png, outside the data root" in find_sequences_error(tmp_path / "data")
    (sequence,) = find_sequences(tmp_path / "data", "train", STREAMS, allow_links=True)
    assert len(sequence) == 2


def test_symlinks_within_the_data_and_a_symlinked_root_are_accepted(tmp_path: Path) -> None:
    write_frames(tmp_path / "real/train_A/s", "1.png")
    (tmp_path / "real/train_A/t").symlink_to(tmp_path / "real/train_A/s")
    (tmp_path / "data").symlink_to(tmp_path / "real")
    sequences = find_sequences(tmp_path / "data", "train", STREAMS)
    assert [len(sequence) for sequence in sequences] == [1, 1]


def test_cyclic_symlink_terminates(tmp_path: Path) -> None:
    write_frames(tmp_path / "train_A/s", "1.png")
    (tmp_path / "train_A/t").symlink_to(tmp_path)
    assert "a link to a folder that holds it" in find_sequences_error(tmp_path, allow_links=True)


def test_names_that_cannot_be_printed_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "train_A/s", "1.png")
    (tmp_path / "train_A/s/1.png").rename(tmp_path / "train_A/s" / os.fsdecode(b"\xff.png"))
    assert "rename it" in find_sequences_error(tmp_path)
