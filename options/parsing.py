"""From argument strings to checked, frozen options, printed and written as people know them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from options.validation import list_ignored_flags, validate_options
from util.errors import UserError, is_printable
from util.io.atomic import atomic_write


class Options(argparse.Namespace):
    """Checked options, for reading only."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"options are frozen: {name} cannot become {value!r}")


class OptionParser(argparse.ArgumentParser):
    """Refuses with a UserError, as all else does, and takes no abbreviations: new flags would change their meaning."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (all flags: {self.prog} --help)")


def parse_options(parser: OptionParser, argv: Sequence[str] | None) -> Options:
    """Options that hold together; UserError names the flags that do not."""
    argv = sys.argv[1:] if argv is None else argv
    for argument in argv:
        if not is_printable(argument):
            raise UserError(
                f"the argument {argument!r} holds bytes that are no text (UTF-8) or a control character: "
                "rename the file or correct the flag"
            )
    options = Options(vars(parser.parse_args(argv)))
    validate_options(options)
    return options


def parse_explicit_flags(parser: OptionParser, argv: Sequence[str]) -> dict[str, Any]:
    """The flags that stand in `argv`, with their values."""
    absent = object()
    blank = argparse.Namespace(**dict.fromkeys(vars(parser.parse_args([])), absent))
    return {
        key: value
        for key, value in vars(parser.parse_args(argv, blank)).items()
        if value is not absent
    }


def _format_value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def format_opt_file(opt: Options) -> str:
    """`key: value` lines, sorted: the `opt.txt` of a run."""
    return "".join(f"{key}: {_format_value(value)}\n" for key, value in sorted(vars(opt).items()))


def stringify_options(opt: Options) -> dict[str, str]:
    """The same by key."""
    return {key: _format_value(value) for key, value in vars(opt).items()}


def format_options_table(opt: Options, parser: OptionParser) -> str:
    """The same for the eye: what differs from its default says so."""

    def line(key: str, value: object) -> str:
        default = parser.get_default(key)
        return f"{key:>24}: {_format_value(value)}" + (
            "" if value == default else f"   [default: {_format_value(default)}]"
        )

    return "\n".join(line(key, value) for key, value in sorted(vars(opt).items()))


def print_and_save_options(
    opt: Options,
    parser: OptionParser,
    lines: Sequence[str],
    folder: Path | None,
    is_main_process: bool,
    file: TextIO | None = None,
) -> None:
    """Prints the resolved options, what has no effect, and `lines`; keeps the options in the `opt.txt` of `folder`.
    aloud: whether this process speaks for all. to: standard output where nothing is said."""
    if not is_main_process:
        return
    print(
        format_options_table(opt, parser),
        *list_ignored_flags(opt, parser),
        *lines,
        sep="\n",
        file=file,
    )
    if folder is not None:
        with atomic_write(folder / "opt.txt") as temporary:
            temporary.write_text(format_opt_file(opt), encoding="utf-8")
