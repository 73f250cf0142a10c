"""The one exception that is the user's to mend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something that the user gave does not fit: one line saying what was found, what was expected,
    which file or flag holds it and what to do. `train.py` and `test.py` print it without a traceback."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """A script's main: a UserError becomes one line on stderr and exit code 1; anything else keeps its traceback."""
    try:
        yield
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
