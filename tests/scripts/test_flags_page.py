from pathlib import Path

from scripts.flags_page import page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_flags_is_what_the_parsers_say() -> None:
    assert (ROOT / "docs" / "flags.md").read_text() == page(), "run: python scripts/flags_page.py"
