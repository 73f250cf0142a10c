"""The one exception that is the user's to mend."""


class UserError(ValueError):
    """Something that the user gave does not fit: one line saying what was found, what was expected,
    which file or flag holds it and what to do. `train.py` and `test.py` print it without a traceback."""
