"""What a snapshot may be called: one rule for those in a daemon's memory and those in the store.

A name stands in commands, in ``snapshot:NAME`` and as a file's name, so it starts with a letter
or a digit, goes on with those and ``. _ - + @``, and has at most `NAME_LIMIT` of them. What
holds a ``/`` or starts with a dot is therefore always a path.

Concurrency: pure functions.
"""

from __future__ import annotations

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

NAME_LIMIT = 128

MARK = "snapshot:"
"""What stands before a name where a source is meant, so that it is not taken for a path."""

_MARKS = str.maketrans("", "", "._+@-")
"""Not a regular expression: a sandbox on a snapshot starts faster without."""


def without_mark(word: str) -> str:
    """Return the name that a word of the command line means, with or without the mark."""
    return word.removeprefix(MARK)


def is_name(text: str) -> bool:
    """Say whether a snapshot may be called `text`."""
    letters = text.translate(_MARKS)
    return (
        0 < len(text) <= NAME_LIMIT
        and text[0] == letters[:1]
        and letters.isascii()
        and letters.isalnum()
    )


def check_name(text: str) -> str:
    """Return `text` if a snapshot may be called that. UserError (USAGE) otherwise."""
    if is_name(text):
        return text
    raise UserError(
        f"a snapshot cannot be named {text[: NAME_LIMIT + 1]!r}; use letters, digits and ._-+@,"
        f" at most {NAME_LIMIT}, beginning with a letter or a digit",
        ExitCode.USAGE,
    )
