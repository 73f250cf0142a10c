"""opt.txt: what test.py and a resumed run take from it, and what contradicts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from options.opt_file import describe_changed_options, read_opt_file
from options.parsing import format_opt_file, stringify_options
from options.test import parse_test
from options.train import parse_train
from util.errors import UserError

TRAIN_FLAGS = """--label_nc 35 --use_instance --ngf 16 --norm instance --fg --fg_labels 3,4 --loadSize 96
--no_first_img --resize_or_crop randomScaleHeight_and_scaledCrop --dataroot data/here"""


@pytest.fixture
def run_flags(tmp_path: Path) -> list[str]:
    """Return the flags that name a run which was trained with TRAIN_FLAGS."""
    flags = ["--checkpoints_dir", str(tmp_path), "--name", "a"]
    options = parse_train([*TRAIN_FLAGS.split(), *flags])
    (tmp_path / "a").mkdir()
    (tmp_path / "a/opt.txt").write_text(format_opt_file(options))
    return flags


def test_run_name_restores_the_training_options(run_flags: list[str]) -> None:
    options = parse_test(run_flags)
    assert options.label_nc == 35
    assert options.use_instance
    assert options.ngf == 16
    assert options.norm == "instance"
    assert options.fg_labels == (3, 4)
    assert options.loadSize == 96
    assert options.dataroot == Path("data/here")
    assert options.resize_or_crop == "scaleheight"  # neither random nor cropped
    assert options.no_first_img


def test_command_line_overrides_restored_options_where_allowed(run_flags: list[str]) -> None:
    options = parse_test([*run_flags, "--loadSize", "64", "--use_real_img", "--ngf", "16"])
    assert options.loadSize == 64
    assert not options.no_first_img


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--ngf 32", "--ngf 32 contradicts the run, which was trained with 16"),
        ("--norm batch", "--norm batch contradicts"),
        ("--no_flow", "--no_flow True contradicts"),
        ("--dataset_mode face", "--dataset_mode face contradicts"),
        ("--fg_labels 3", "--fg_labels"),
    ],
)
def test_contradicting_options_are_named(run_flags: list[str], flags: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_test([*run_flags, *flags.split()])
    assert message in str(error.value)


def test_published_weights_without_opt_txt_need_flags(tmp_path: Path) -> None:
    options = parse_test(
        ["--checkpoints_dir", str(tmp_path), "--name", "b", "--ngf", "4", "--use_real_img"]
    )
    assert options.ngf == 4


def test_a_broken_opt_txt_is_named(run_flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "a/opt.txt").write_text("ngf: many\n")
    with pytest.raises(UserError, match=r"a/opt.txt: invalid option: argument --ngf"):
        parse_test([*run_flags, "--use_real_img"])


def test_flags_with_old_names_are_read(run_flags: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a/opt.txt"
    text = path.read_text().replace("pose_people: all", "people: largest")
    path.write_text(text.replace("keep_last_epochs: None", "keep: 3"))
    saved = read_opt_file(path)
    assert saved["pose_people"] == "largest"
    assert saved["keep_last_epochs"] == "3"
    assert not {"people", "keep"} & set(saved)
    assert parse_test(run_flags).pose_people == "largest"


def test_changes_of_a_resumed_run_are_listed_or_refused() -> None:
    saved = stringify_options(parse_train([]))
    del saved["keep_last_epochs"]
    saved["keep"] = "3"  # the old name
    options = parse_train(["--lr", "0.1", "--continue_train"])
    assert describe_changed_options(saved, options) == [
        "changed: --keep_last_epochs None now, 3 in the saved run",
        "changed: --lr 0.1 now, 0.0002 in the saved run",
    ]
    with pytest.raises(UserError, match=r"--ngf 4 now, 128 in the saved run"):
        describe_changed_options(saved, parse_train(["--ngf", "4"]))
