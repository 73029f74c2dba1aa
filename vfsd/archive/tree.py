"""What can be served or unpacked as an archive: vfsd's own, or a zip, a tar, a Node.js executable.

Concurrency: for one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from vfsd.archive.content import Extent
from vfsd.archive.layout import Inode


class Found(NamedTuple):
    """What a name stands for."""

    number: int
    inode: Inode


class Readable(Protocol):
    """The content of a regular file; see content.py."""

    size: int

    @property
    def extents(self) -> Sequence[Extent]: ...

    def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Return the bytes from `offset`; fewer than `size` only at the end. Damage."""


class ArchiveTree(Protocol):
    """A tree of numbered nodes; reader.py's `Archive` says what each method promises."""

    @property
    def count(self) -> int: ...
    @property
    def unlinked(self) -> bool: ...
    def inode(self, number: int) -> Inode: ...
    def names(self, number: int, inode: Inode) -> list[bytes]: ...
    def lookup(self, number: int, inode: Inode, name: bytes) -> Found | None: ...
    def scan(self, number: int, inode: Inode) -> Iterator[tuple[bytes, Found]]: ...
    def target(self, inode: Inode) -> bytes: ...
    def xattrs(self, inode: Inode) -> dict[bytes, bytes]: ...
    def content(self, inode: Inode) -> Readable: ...
    def hurry(self) -> None: ...
    def warm(self, offset: int, size: int) -> None: ...
    def statistics(self) -> Mapping[str, int]: ...
    def close(self) -> None: ...
    @property
    def length(self) -> int: ...
