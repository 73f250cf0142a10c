"""The short form of `tests/fuzz/inputs.py`, and what hypothesis thinks of."""

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

pytestmark = pytest.mark.filterwarnings(
    "ignore:::PIL.TiffImagePlugin"
)  # says which broken tag it does without
quick = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("kind", build_fuzz_targets(), ids=lambda kind: kind.name)
def test_mutated_and_hostile_files_are_refused(kind: FuzzTarget, tmp_path: Path) -> None:
    verdicts, longest = fuzz_by_mutation(kind, 40, seed=1, folder=tmp_path)
    assert set(verdicts) <= {"refused", "as valid"}, verdicts
    assert (
        verdicts["as valid"] >= 1 and verdicts["refused"] > 20
    )  # the valid one among them is read
    assert longest < 10


@pytest.mark.parametrize("kind", build_fuzz_targets(), ids=lambda kind: kind.name)
@given(content=st.binary(max_size=400))
@quick
def test_arbitrary_bytes_are_refused(kind: FuzzTarget, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"any{kind.suffix}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="PIL.TiffImagePlugin")
        try:
            assert kind.check(path)
        except UserError as refusal:
            assert "\n" not in str(refusal)


@given(
    argv=st.lists(
        st.sampled_from(
            ["--ngf", "--lr", "--name", "--fg_labels", "--norm", "--seed", "x", "8", "-1"]
        )
        | st.text(max_size=8),
        max_size=6,
    )
)
@quick
def test_command_lines_are_accepted_or_refused(argv: list[str]) -> None:
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
    streams = StreetFrameReader(label_nc=3, input_nc=3, use_instance=False).folder_specs(
        uses_images=False
    )
    with pytest.raises(UserError) as caught:
        find_sequences(root, "train", streams, allow_links)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()  # can be printed anywhere
    return str(caught.value)


def test_symlink_out_of_the_data_is_followed_only_with_allow_links(tmp_path: Path) -> None:
    frames(tmp_path / "elsewhere", "secret.png")
    frames(tmp_path / "data/train_A/s", "1.png")
    (tmp_path / "data/train_A/s/2.png").symlink_to(tmp_path / "elsewhere/secret.png")
    assert "secret.png, outside the data root" in refusal(tmp_path / "data")
    streams = StreetFrameReader(label_nc=3, input_nc=3, use_instance=False).folder_specs(
        uses_images=False
    )
    assert len(find_sequences(tmp_path / "data", "train", streams, allow_links=True)[0]) == 2


def test_symlinks_within_the_data_and_a_symlinked_root_are_accepted(tmp_path: Path) -> None:
    frames(tmp_path / "real/train_A/s", "1.png")
    (tmp_path / "real/train_A/t").symlink_to(tmp_path / "real/train_A/s")
    (tmp_path / "data").symlink_to(tmp_path / "real")
    streams = StreetFrameReader(label_nc=3, input_nc=3, use_instance=False).folder_specs(
        uses_images=False
    )
    assert [len(sequence) for sequence in find_sequences(tmp_path / "data", "train", streams)] == [
        1,
        1,
    ]


def test_cyclic_symlink_terminates(tmp_path: Path) -> None:
    frames(tmp_path / "train_A/s", "1.png")
    (tmp_path / "train_A/t").symlink_to(tmp_path)
    assert "a link to a folder that holds it" in refusal(tmp_path, allow_links=True)


def test_names_that_cannot_be_printed_are_refused(tmp_path: Path) -> None:
    frames(tmp_path / "train_A/s", "1.png")
    (tmp_path / "train_A/s/1.png").rename(tmp_path / "train_A/s" / os.fsdecode(b"\xff.png"))
    assert "rename it" in refusal(tmp_path)
