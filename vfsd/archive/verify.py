"""Look at all of an archive: every digest, and what a lazy reader cannot see.

That is: overlapping frames, link counts that are wrong, nodes that no name leads to, a file's
digest over all of its frames.

Concurrency: for one thread; blocking.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import NamedTuple

from vfsd.archive.content import Content
from vfsd.archive.damage import Damage
from vfsd.archive.layout import (
    DIRECTORY,
    EXTENT_PLACE,
    FLAG_SPARSE,
    REGULAR,
    ROOT_NODE,
    SYMLINK,
    Inode,
)
from vfsd.archive.reader import Archive
from vfsd.archive.tree import ArchiveTree, Found, Readable
from vfsd.digest import content_hasher

PIECE_BYTES = 1 << 20


class Complaint(NamedTuple):
    """What is wrong with which file (``b""`` where no name leads to it), and where."""

    path: bytes
    what: str
    offset: int | None


class Seen(NamedTuple):
    """How much was looked at so far."""

    names: int
    content_bytes: int


class Verifier:
    """Verifies one archive; `complaints` yields what is wrong, as it is found."""

    def __init__(self, archive: Archive, told: Callable[[Seen], None] | None = None) -> None:
        self._archive = archive
        self._told = told
        self._names = 0
        self._bytes = 0
        self._links = array("Q", bytes(8 * (archive.count + 1)))
        """How many names lead to each node; for a directory as `nlink` counts."""
        self._contents: set[tuple[int, int, int, bytes]] = set()

    def complaints(self) -> Iterator[Complaint]:
        """Yield everything that is wrong; nothing if the archive is well. Changed, OSError."""
        yield from self._overlaps()
        try:
            root = self._archive.inode(ROOT_NODE)
        except Damage as damage:
            yield Complaint(b"", damage.what, damage.offset)
            return
        self._links[ROOT_NODE] = 2
        yield from self._node(b"", root)
        waiting = [(b"", Found(ROOT_NODE, root))]
        while waiting:
            path, folder = waiting.pop()
            yield from self._folder(path, folder, waiting)
        yield from self._counts()

    def _folder(
        self, path: bytes, folder: Found, waiting: list[tuple[bytes, Found]]
    ) -> Iterator[Complaint]:
        try:
            names = self._archive.names(*folder)
        except Damage as damage:
            yield Complaint(path, damage.what, damage.offset)
            return
        for name in names:
            inner = path + b"/" + name if path else name
            try:
                found = self._archive.lookup(*folder, name)
            except Damage as damage:
                yield Complaint(inner, damage.what, damage.offset)
                continue
            assert found is not None, "the name was just listed"
            self._names += 1
            if found.inode.kind == DIRECTORY:
                self._links[folder.number] += 1
                self._links[found.number] = 2
                waiting.append((inner, found))
            else:
                self._links[found.number] += 1
                if self._links[found.number] > 1:
                    continue
            yield from self._node(inner, found.inode)
            if self._told is not None:
                self._told(Seen(self._names, self._bytes))

    def _node(self, path: bytes, inode: Inode) -> Iterator[Complaint]:
        """Check what belongs to a node but its names."""
        try:
            self._archive.xattrs(inode)
        except Damage as damage:
            yield Complaint(path, damage.what, damage.offset)
        try:
            if inode.kind == SYMLINK:
                self._archive.target(inode)
            elif inode.kind == REGULAR:
                self._file(inode)
        except Damage as damage:
            yield Complaint(path, damage.what, damage.offset)

    def _file(self, inode: Inode) -> None:
        content = self._archive.content(inode)
        key = inode.place, inode.skip, inode.size, inode.digest
        if key in self._contents:
            return
        if content_check(content, bool(inode.flags & FLAG_SPARSE)) != inode.digest:
            raise Damage("a file does not match its digest", inode.place)
        self._bytes += inode.allocated
        self._contents.add(key)

    def _overlaps(self) -> Iterator[Complaint]:
        """Frames may not overlap each other; two that are equal would be found here as well."""
        end = before = -1
        frames = self._archive.frames
        places = []
        for number in range(frames.count):
            try:
                frame = frames.record(number)
            except Damage as damage:
                yield Complaint(b"", damage.what, damage.offset)
                continue
            places.append((frame.offset, frame.stored, number))
        for offset, stored, number in sorted(places):
            if offset < end:
                yield Complaint(b"", f"frame {number} overlaps frame {before}", offset)
            end, before = max(end, offset + stored), number

    def _counts(self) -> Iterator[Complaint]:
        for number in range(ROOT_NODE, self._archive.count + 1):
            counted = self._links[number]
            try:
                told = self._archive.inode(number).nlink
            except Damage as damage:
                if not counted:
                    yield Complaint(b"", damage.what, damage.offset)
                continue
            if counted != told:
                what = f"node {number} has {counted} links and tells {told}"
                if not counted:
                    what = f"no name leads to node {number}"
                yield Complaint(b"", what, self._archive.offset_of(number))


def content_check(content: Content, sparse: bool) -> bytes:
    """Return the digest of a whole content, as its inode should tell it. Damage."""
    digest = content_hasher()
    for extent in content.extents:
        for piece in content.pieces_of(extent):
            digest.update(piece)
        if sparse:
            digest.update(EXTENT_PLACE.pack(extent.offset, extent.length))
    return digest.digest()


def complaints_of(tree: ArchiveTree, told: Callable[[Seen], None]) -> Iterator[Complaint]:
    """Yield what cannot be read of an archive of another kind; some of them have checks."""
    waiting = [(b"", Found(ROOT_NODE, tree.inode(ROOT_NODE)))]
    names = content_bytes = 0
    while waiting:
        path, folder = waiting.pop()
        for name, found in tree.scan(*folder):
            inner = path + b"/" + name if path else name
            names += 1
            if found.inode.kind == DIRECTORY:
                waiting.append((inner, found))
            elif found.inode.kind == REGULAR:
                try:
                    content_bytes += _read_all(tree.content(found.inode))
                except Damage as damage:
                    yield Complaint(inner, damage.what, damage.offset)
            told(Seen(names, content_bytes))


def _read_all(content: Readable) -> int:
    done = 0
    for extent in content.extents:
        offset, end = extent.offset, extent.offset + extent.length
        while offset < end:
            size = len(content.read(offset, min(PIECE_BYTES, end - offset)))
            if not size:
                raise Damage("a file ends before its size", extent.offset)
            offset += size
            done += size
    return done
