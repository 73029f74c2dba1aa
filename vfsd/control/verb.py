"""What every request of the control protocol is, and the size of a page of its listings.

Concurrency: immutable values.
"""

from __future__ import annotations

PAGE_LIMIT = 4096
"""Entries in one page of a listing."""


class Verb:
    """What all parameter classes are; their first docstring line is the verb's meaning."""

    __slots__ = ()
