"""docs/flags.md: equal to what the parsers generate."""

from __future__ import annotations

from pathlib import Path

from scripts.dev.generate_flag_docs import render_flags_page

ROOT = Path(__file__).resolve().parents[2]


def test_flags_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "flags.md").read_text() == render_flags_page(), (
        "run: python scripts/dev/generate_flag_docs.py"
    )
