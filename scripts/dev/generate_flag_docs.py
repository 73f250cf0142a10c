"""Writes docs/flags.md: every flag of train.py and test.py, with its default, from the parsers themselves."""

from __future__ import annotations

import argparse
from pathlib import Path

from options.parsing import OptionParser
from options.test import build_test_parser
from options.train import build_train_parser
from util.io.atomic import atomic_write

_FLAGS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "flags.md"


def format_default(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "off"
    if action.default is None:
        return ""
    value = action.default
    return f"`{','.join(map(str, value)) if isinstance(value, tuple) else value}`"


def collect_flag_rows(parser: OptionParser, program: str) -> dict[str, dict[str, list[str]]]:
    """group -> flag -> its row, and which programs have it."""
    found: dict[str, dict[str, list[str]]] = {}
    for group in parser._action_groups:  # argparse offers no public way to its groups
        for action in group._group_actions:
            if action.dest != "help":
                words = action.help or ""
                if action.choices:
                    words += f" ({', '.join(map(str, action.choices))})"
                found.setdefault(group.title or "", {})[action.option_strings[0]] = [
                    format_default(action),
                    words,
                    program,
                ]
    return found


def render_flags_page() -> str:
    """Flags that both programs have are listed once."""
    train, test = (
        collect_flag_rows(build_train_parser(), "train"),
        collect_flag_rows(build_test_parser(), "test"),
    )
    lines = ["# Every flag", "", "Made by `python scripts/dev/generate_flag_docs.py`."]
    for title in dict.fromkeys([*train, *test]):
        lines += [
            "",
            f"## {title[0].upper()}{title[1:]}",
            "",
            "| flag | default | what it does | where |",
            "|---|---|---|---|",
        ]
        both = {**test.get(title, {}), **train.get(title, {})}
        for flag, (default, words, _) in both.items():
            where = ", ".join(
                name
                for name, found in (("train", train), ("test", test))
                if flag in found.get(title, {})
            )
            lines.append(f"| `{flag}` | {default} | {words.replace('|', '/')} | {where} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with atomic_write(_FLAGS_PAGE) as temporary:
        temporary.write_text(render_flags_page())
