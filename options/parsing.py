"""Parse arguments into checked options, and format options for people and for opt.txt."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from options.ignored_flags import list_ignored_flags
from options.schema import Options, OptionsT, format_option_value
from options.validation import validate_options
from util.errors import UserError, is_printable
from util.io.atomic import atomic_write


class OptionParser(argparse.ArgumentParser):
    """An ArgumentParser that raises UserError and accepts no abbreviated flags.

    A new flag can change what an abbreviation means.
    """

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise the parsing error as a UserError."""
        raise UserError(f"{message} (all flags: {self.prog} --help)")


def parse_options(
    parser: OptionParser, argv: Sequence[str] | None, options_class: type[OptionsT]
) -> OptionsT:
    """Parse and check the options of a program.

    Args:
        parser: The parser; its destinations are the fields of `options_class`.
        argv: The arguments; None for those of the process.
        options_class: TrainOptions, TestOptions or a subclass.

    Raises:
        UserError: A flag or a combination of flags is invalid; the message names them.
    """
    if argv is None:
        argv = sys.argv[1:]
    for argument in argv:
        if not is_printable(argument):
            raise UserError(
                f"the argument {argument!r} contains control characters or is not valid UTF-8: rename "
                "the file or correct the flag"
            )
    options = options_class(**vars(parser.parse_args(argv)))
    validate_options(options)
    return options


def parse_explicit_flags(parser: OptionParser, argv: Sequence[str]) -> dict[str, Any]:
    """Return the values of the flags that `argv` contains, by flag name."""
    absent = object()
    blank = argparse.Namespace(**dict.fromkeys(vars(parser.parse_args([])), absent))
    values = vars(parser.parse_args(argv, blank))
    return {flag: value for flag, value in values.items() if value is not absent}


def stringify_options(opt: Options) -> dict[str, str]:
    """Return all options as text, by flag name."""
    return {flag: format_option_value(value) for flag, value in vars(opt).items()}


def format_opt_file(opt: Options) -> str:
    """Return the content of a run's opt.txt: sorted lines `flag: value`."""
    return "".join(f"{flag}: {text}\n" for flag, text in sorted(stringify_options(opt).items()))


def format_options_table(opt: Options, parser: OptionParser) -> str:
    """Return the options as a sorted table for the console, which marks non-default values."""
    lines = []
    for flag, value in sorted(vars(opt).items()):
        line = f"{flag:>24}: {format_option_value(value)}"
        default = parser.get_default(flag)
        if value != default:
            line += f"   [default: {format_option_value(default)}]"
        lines.append(line)
    return "\n".join(lines)


def print_and_save_options(
    opt: Options,
    parser: OptionParser,
    lines: Sequence[str],
    folder: Path | None,
    is_main_process: bool,
    file: TextIO | None = None,
) -> None:
    """Print the options, the ignored flags and `lines`, and save the options to opt.txt.

    Args:
        opt: The options.
        parser: The parser of the options, which knows the defaults.
        lines: Further lines to print.
        folder: The folder of opt.txt; None to save nothing.
        is_main_process: Other processes print and save nothing.
        file: Where to print; None for standard output.
    """
    if not is_main_process:
        return
    table = format_options_table(opt, parser)
    print(table, *list_ignored_flags(opt, parser), *lines, sep="\n", file=file)
    if folder is not None:
        with atomic_write(folder / "opt.txt") as temporary:
            temporary.write_text(format_opt_file(opt), encoding="utf-8")
