"""What a populate function says: the content of a lazy directory, as plain values.

A populate function returns a mapping from names to items. `bytes` alone are a regular file
with mode 0o644, a mapping alone is a directory with mode 0o755; the classes below say more.

What is *not* here: when it is called (population.py) and how a dynamic file is opened
(dynamic.py).

Concurrency: immutable values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from vfsd.provider import NAME_MAX

Data: TypeAlias = "bytes | bytearray | memoryview | Iterable[bytes]"
"""What a dynamic file holds at one open: all of it, or pieces that are asked for as it is read."""

Source: TypeAlias = "Callable[[], Data | Awaitable[Data]] | Iterable[bytes]"
"""A function, called at each open, or an iterable that each open goes through anew."""

Item: TypeAlias = "bytes | Mapping[bytes, Item] | File | Symlink | Dynamic | Subdirectory | Lazy"
Items: TypeAlias = "Mapping[bytes, Item]"
Populate: TypeAlias = "Callable[[], Items | Awaitable[Items]]"


@dataclass(frozen=True, slots=True)
class File:
    """A regular file."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symlink with `target` as stored."""

    target: bytes


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A file whose content is made at each open."""

    source: Source
    mode: int = 0o444


@dataclass(frozen=True, slots=True)
class Subdirectory:
    """A directory whose content is known."""

    items: Items
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Lazy:
    """A directory that is populated at the first access to it."""

    populate: Populate
    mode: int = 0o755


def check_name(name: object) -> None:
    """Raise ValueError unless `name` can stand in a directory."""
    if type(name) is not bytes:
        raise ValueError(f"a name must be bytes, not {type(name).__name__}")
    if not 0 < len(name) <= NAME_MAX or b"/" in name or b"\0" in name or name in (b".", b".."):
        raise ValueError(f"{name!r} cannot be the name of a file")


def check_source(source: object) -> None:
    """Raise TypeError unless `source` can be opened more than once."""
    if callable(source):
        return
    if isinstance(source, str | bytes | bytearray | memoryview) or not isinstance(source, Iterable):
        raise TypeError("a source is a function, or an iterable of bytes such as [b'text']")
    if iter(source) is source:
        raise TypeError("an iterator can be read once only: give a function that returns it")
