"""From argument strings to checked, frozen options, printed and written as people know them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from options.rules import check, unused
from util.errors import UserError
from util.files import replacing
from util.text import is_plain_text


class Options(argparse.Namespace):
    """Checked options, for reading only."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"options are frozen: {name} cannot become {value!r}")


class Parser(argparse.ArgumentParser):
    """Refuses with a UserError, as all else does, and takes no abbreviations: new flags would change their meaning."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (all flags: {self.prog} --help)")


def parse(parser: Parser, argv: Sequence[str] | None) -> Options:
    """Options that hold together; UserError names the flags that do not."""
    argv = sys.argv[1:] if argv is None else argv
    for argument in argv:
        if not is_plain_text(argument):
            raise UserError(f"the argument {argument!r} holds bytes that are no text (UTF-8) or a control character: "
                            "rename the file or correct the flag")
    options = Options(vars(parser.parse_args(argv)))
    check(options)
    return options


def given(parser: Parser, argv: Sequence[str]) -> dict[str, Any]:
    """The flags that stand in `argv`, with their values."""
    absent = object()
    blank = argparse.Namespace(**dict.fromkeys(vars(parser.parse_args([])), absent))
    return {key: value for key, value in vars(parser.parse_args(argv, blank)).items() if value is not absent}


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def listing(options: Options) -> str:
    """`key: value` lines, sorted: the `opt.txt` of a run."""
    return "".join(f"{key}: {_text(value)}\n" for key, value in sorted(vars(options).items()))


def option_texts(options: Options) -> dict[str, str]:
    """The same by key."""
    return {key: _text(value) for key, value in vars(options).items()}


def report(options: Options, parser: Parser) -> str:
    """The same for the eye: what differs from its default says so."""
    def line(key: str, value: object) -> str:
        default = parser.get_default(key)
        return f"{key:>24}: {_text(value)}" + ("" if value == default else f"   [default: {_text(default)}]")

    return "\n".join(line(key, value) for key, value in sorted(vars(options).items()))


def announce(options: Options, parser: Parser, lines: Sequence[str], folder: Path | None, aloud: bool,
             to: TextIO | None = None) -> None:
    """Prints the resolved options, what has no effect, and `lines`; keeps the options in the `opt.txt` of `folder`.
    aloud: whether this process speaks for all. to: standard output where nothing is said."""
    if not aloud:
        return
    print(report(options, parser), *unused(options, parser), *lines, sep="\n", file=to)
    if folder is not None:
        with replacing(folder / "opt.txt") as temporary:
            temporary.write_text(listing(options), encoding="utf-8")
