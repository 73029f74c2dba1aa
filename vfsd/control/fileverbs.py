"""The verbs of open files, by virtual fds that belong to their connection.

Concurrency: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfsd.control.verb import Verb


@dataclass(frozen=True, slots=True)
class Open(Verb):
    """Open a regular file and return a virtual fd of this connection."""

    path: bytes
    flags: int = 0
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Read(Verb):
    """Read from a virtual fd."""

    fd: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Write(Verb):
    """Write to a virtual fd and return how many bytes were written."""

    fd: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StatFd(Verb):
    """Return the attributes of an open file."""

    fd: int


@dataclass(frozen=True, slots=True)
class TruncateFd(Verb):
    """Set the size of an open file."""

    fd: int
    size: int


@dataclass(frozen=True, slots=True)
class SyncFd(Verb):
    """Return once what was written to an open file is durable."""

    fd: int
    data_only: bool = False


@dataclass(frozen=True, slots=True)
class Close(Verb):
    """Close a virtual fd; an uncommitted staged file is gone."""

    fd: int
