"""The verbs that copy many files at once, or one whole: into the tree and out of it.

A file that is staged has no name until it is committed, so nobody sees half of it.

Concurrency: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfsd.control.verb import Verb

PutEntry = tuple[bytes, int, int | None, bytes | int | None]
"""One file to make: path below `at`, mode with its type, mtime in ns or None, and content.

The content is the data of a regular file, the target of a symlink, the device number of a
device, None for others. Mode 0 makes a hard link: the content is the path, below `at`, of the
file to link.
"""


@dataclass(frozen=True, slots=True)
class Stage(Verb):
    """Open a new file under a temporary name in the directory `path` below `at`."""

    at: bytes
    path: bytes = b""


@dataclass(frozen=True, slots=True)
class Commit(Verb):
    """Close a staged file and name it, replacing what has the name; `keep` its mode and owner."""

    fd: int
    name: bytes
    mode: int
    mtime_ns: int | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Put(Verb):
    """Make or replace many files below `at`; return index and errno of each that failed."""

    at: bytes
    entries: tuple[PutEntry, ...]


@dataclass(frozen=True, slots=True)
class Fetch(Verb):
    """Return the data of many small files in the directory `at`, as many as fit."""

    at: bytes
    names: tuple[bytes, ...]
