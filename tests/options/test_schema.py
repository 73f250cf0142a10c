"""The option dataclasses: equal to the parsers' flags, frozen, and checked by mypy."""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from options import opt_file
from options.ignored_flags import IGNORED_FLAGS
from options.parsing import OptionParser
from options.schema import Options, TestOptions, TrainOptions
from options.test import build_test_parser
from options.train import build_train_parser, parse_train
from options.validation import FLAG_RANGES

ROOT = Path(__file__).parents[2]
PROGRAMS = [(build_train_parser(), TrainOptions), (build_test_parser(), TestOptions)]


def flag_actions(parser: OptionParser) -> dict[str, argparse.Action]:
    return {action.dest: action for action in parser._actions if action.dest != "help"}


def flag_type(action: argparse.Action) -> Any:
    """Return the type of a flag's values, as its parser defines it."""
    if action.nargs == 0:
        return bool
    value_type: Any = action.type or str
    if action.choices:
        value_type = Literal[tuple(action.choices)]
    elif not isinstance(value_type, type):
        value_type = get_type_hints(value_type)["return"]
    return value_type if action.default is not None else value_type | None


def is_instance(value: object, annotation: Any) -> bool:
    """Return whether a value has an annotated type, one of those that flags have."""
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if get_origin(annotation) is tuple:
        return isinstance(value, tuple)
    if annotation is float:
        return isinstance(value, int | float)
    if get_args(annotation):
        return any(is_instance(value, option) for option in get_args(annotation))
    return isinstance(value, annotation)


@pytest.mark.parametrize(("parser", "options_class"), PROGRAMS, ids=["train", "test"])
def test_fields_are_the_flags_with_their_types(
    parser: OptionParser, options_class: type[Options]
) -> None:
    hints = get_type_hints(options_class)
    field_types = {field.name: hints[field.name] for field in fields(options_class)}
    flag_types = {flag: flag_type(action) for flag, action in flag_actions(parser).items()}
    assert field_types == flag_types


@pytest.mark.parametrize(("parser", "options_class"), PROGRAMS, ids=["train", "test"])
def test_defaults_have_the_type_of_their_field(
    parser: OptionParser, options_class: type[Options]
) -> None:
    hints = get_type_hints(options_class)
    defaults = vars(options_class(**vars(parser.parse_args([]))))
    wrong = [flag for flag, value in defaults.items() if not is_instance(value, hints[flag])]
    assert wrong == []


def test_rules_name_existing_flags() -> None:
    flags = {flag for parser, _ in PROGRAMS for flag in flag_actions(parser)}
    named = {
        *FLAG_RANGES,
        *(flag for rule in IGNORED_FLAGS for flag in rule.flags),
        *opt_file.GENERATOR_FLAGS,
        *opt_file.DISCRIMINATOR_FLAGS,
        *opt_file.DATA_FLAGS,
        *opt_file.FIRST_FRAME_FLAGS,
        *opt_file.TEACHER_STUDENT_FLAGS,
        *opt_file.RENAMED_FLAGS.values(),
    }
    assert named <= flags
    assert not flags & set(opt_file.RENAMED_FLAGS)


def test_options_are_frozen() -> None:
    options = parse_train([])
    with pytest.raises(FrozenInstanceError, match="ngf"):
        options.ngf = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="new_name"):
        options.new_name = 3  # type: ignore[attr-defined]
    assert options.ngf == 128


SNIPPET = """
from options.schema import Options, TestOptions, TrainOptions

def misspelled(opt: TrainOptions) -> int:
    return opt.n_frame_G

def of_train_only(opt: Options) -> float:
    return opt.lambda_feat

def of_other_program(opt: TestOptions) -> int:
    return opt.niter

def assigned(opt: TrainOptions) -> None:
    opt.ngf = 3

def correct(opt: TrainOptions) -> int:
    return opt.n_frames_G + opt.niter
"""


def test_mypy_refuses_misspelled_and_assigned_options(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "snippet.py").write_text(SNIPPET)
    flags = ["--config-file=", "--explicit-package-bases", "--no-error-summary"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *flags, f"--cache-dir={tmp_path}/cache", "snippet.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    errors = run.stdout.splitlines()
    assert [line.split(":")[1] for line in errors] == ["5", "8", "11", "14"], (
        run.stdout + run.stderr
    )
    for flag, error in zip(("n_frame_G", "lambda_feat", "niter", "ngf"), errors, strict=True):
        assert f'"{flag}"' in error


def test_every_parameter_named_opt_has_a_type_that_mypy_checks() -> None:
    untyped = []
    for path in sorted((ROOT / "options").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            for argument in node.args.args:
                annotation = argument.annotation and ast.unparse(argument.annotation)
                if argument.arg == "opt" and annotation not in (
                    "Options",
                    "TrainOptions",
                    "TestOptions",
                ):
                    untyped.append(f"{path.name}: {node.name}")
    assert untyped == []
