"""Names and arguments that can be printed, written and read back."""

from __future__ import annotations

import unicodedata


def is_printable(text: str) -> bool:
    """Whether it has neither control characters nor bytes that were no UTF-8 (which Python keeps as surrogates)."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
