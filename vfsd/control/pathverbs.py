"""The verbs that name a file by its path from the tree's root.

Concurrency: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfsd.control.verb import PAGE_LIMIT, Verb


@dataclass(frozen=True, slots=True)
class StatFile(Verb):
    """Return the attributes of a file."""

    path: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class ListDirectory(Verb):
    """Return a page of a directory, sorted by name, starting past the name `after`."""

    path: bytes
    after: bytes = b""
    limit: int = PAGE_LIMIT


@dataclass(frozen=True, slots=True)
class ReadLink(Verb):
    """Return a symlink's target."""

    path: bytes


@dataclass(frozen=True, slots=True)
class StatFilesystem(Verb):
    """Return the room in the provider that holds a path."""

    path: bytes


@dataclass(frozen=True, slots=True)
class ReadFile(Verb):
    """Return a whole small file (EFBIG if it is larger than one message takes)."""

    path: bytes


@dataclass(frozen=True, slots=True)
class WriteFile(Verb):
    """Make or replace a whole small file; a replaced one's mode and owner are kept."""

    path: bytes
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class GetXattr(Verb):
    """Return the value of an extended attribute."""

    path: bytes
    name: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class ListXattr(Verb):
    """Return the names of all extended attributes."""

    path: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class MakeDirectory(Verb):
    """Make a directory; with `parents` missing ones on the way too, and it may exist."""

    path: bytes
    mode: int = 0o755
    parents: bool = False


@dataclass(frozen=True, slots=True)
class MakeNode(Verb):
    """Make a file of the type in `mode`."""

    path: bytes
    mode: int
    rdev: int = 0


@dataclass(frozen=True, slots=True)
class MakeSymlink(Verb):
    """Make a symlink."""

    path: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Link(Verb):
    """Give the file `source` another name, `target`."""

    source: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Unlink(Verb):
    """Remove a name that is not a directory."""

    path: bytes


@dataclass(frozen=True, slots=True)
class RemoveDirectory(Verb):
    """Remove an empty directory."""

    path: bytes


@dataclass(frozen=True, slots=True)
class RemoveTree(Verb):
    """Remove a file or a directory with all below; parts tell how many are gone."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Rename(Verb):
    """Rename as `renameat2(2)` does; `flags` is 0, 1 (no replacing) or 2 (exchange)."""

    source: bytes
    target: bytes
    flags: int = 0


@dataclass(frozen=True, slots=True)
class SetAttributes(Verb):
    """Change attributes; what is left out stays."""

    path: bytes
    follow: bool = True
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate(Verb):
    """Set the size of a file."""

    path: bytes
    size: int


@dataclass(frozen=True, slots=True)
class SetXattr(Verb):
    """Set an extended attribute."""

    path: bytes
    name: bytes
    value: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class RemoveXattr(Verb):
    """Remove an extended attribute."""

    path: bytes
    name: bytes
    follow: bool = True
