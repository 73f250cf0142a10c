from __future__ import annotations

from pathlib import Path

import pytest

from options.parsing import format_opt_file
from options.test import parse_test
from options.train import parse_train
from util.errors import UserError

RUN = """--label_nc 35 --use_instance --ngf 16 --norm instance --fg --fg_labels 3,4 --loadSize 96 --no_first_img
--resize_or_crop randomScaleHeight_and_scaledCrop --dataroot data/here"""


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    """The flags that find a run trained with RUN."""
    flags = ["--checkpoints_dir", str(tmp_path), "--name", "a"]
    (tmp_path / "a").mkdir()
    (tmp_path / "a/opt.txt").write_text(format_opt_file(parse_train([*RUN.split(), *flags])))
    return flags


def test_run_name_restores_the_training_options(where: list[str]) -> None:
    options = parse_test(where)
    assert (options.label_nc, options.use_instance, options.ngf, options.norm) == (
        35,
        True,
        16,
        "instance",
    )
    assert (options.fg_labels, options.loadSize, options.dataroot) == (
        (3, 4),
        96,
        Path("data/here"),
    )
    assert options.resize_or_crop == "scaleheight"  # neither random nor cropped
    assert options.no_first_img


def test_command_line_overrides_restored_options_where_allowed(where: list[str]) -> None:
    options = parse_test([*where, "--loadSize", "64", "--use_real_img", "--ngf", "16"])
    assert options.loadSize == 64
    assert not options.no_first_img


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--ngf 32", "--ngf 32 contradicts the run, which was trained with 16"),
        ("--norm batch", "--norm batch contradicts"),
        ("--no_flow", "--no_flow True contradicts"),
        ("--dataset_mode face", "--dataset_mode face contradicts"),
        ("--fg_labels 3", "--fg_labels"),
    ],
)
def test_contradicting_options_are_named(where: list[str], given: str, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_test([*where, *given.split()])
    assert said in str(refusal.value)


def test_published_weights_without_opt_txt_need_flags(tmp_path: Path) -> None:
    options = parse_test(
        ["--checkpoints_dir", str(tmp_path), "--name", "b", "--ngf", "4", "--use_real_img"]
    )
    assert options.ngf == 4


def test_a_broken_opt_txt_is_named(where: list[str], tmp_path: Path) -> None:
    (tmp_path / "a/opt.txt").write_text("ngf: many\n")
    with pytest.raises(UserError, match=r"a/opt.txt holds what this program does not take"):
        parse_test([*where, "--use_real_img"])
