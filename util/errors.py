"""Errors that the user can fix, and a check of text that such errors quote."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """An error in what the user provided: a flag, a file or the machine.

    The message is one line: what was found, what was expected, which file or flag holds it and
    what to do. `train.py` and `test.py` print it without a traceback.
    """


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print a UserError as one line on stderr and exit with code 1; keep other tracebacks."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def is_printable(text: str) -> bool:
    """Return whether the text has no control characters and no bytes that are invalid UTF-8.

    Python keeps invalid bytes of arguments and file names as surrogate code points. Such text can
    neither be printed nor written to a UTF-8 file.
    """
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
