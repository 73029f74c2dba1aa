"""What is noted on a file that was copied up: which number it had, so that it keeps it.

The note is the attribute ``user.overlay.vfsd`` (or ``trusted.``): ``number=HEX``, and for a
file with names that stand only in the lowers, `` pending=N`` (hardlinks.py). It is carried by
snapshots and forks of the upper with everything else, and read again after a restart, while
the overlay is over the same lowers in the same order.

Concurrency: pure functions.
"""

from __future__ import annotations

import re

from vfsd.provider import NUMBER_LIMIT, ROOT_NUMBER

_NOTE = re.compile(rb"number=([0-9a-f]{1,12})(?: pending=([0-9]{1,9}))?")


def origin_note(number: int, pending: int = 0) -> bytes:
    """Return what to note."""
    text = b"number=%x" % number
    return text + b" pending=%d" % pending if pending else text


def read_origin(note: bytes | None) -> int | None:
    """Return the number; None without a note, or for one that is damaged."""
    match = _NOTE.fullmatch(note) if note else None
    if match is None:
        return None
    number = int(match[1], 16)
    return number if ROOT_NUMBER < number < NUMBER_LIMIT else None


def read_pending(note: bytes | None) -> int:
    """Return how many names stand only in the lowers."""
    match = _NOTE.fullmatch(note) if note else None
    return int(match[2]) if match is not None and match[2] else 0
