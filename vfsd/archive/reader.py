"""An archive, read lazily: a directory, a file's attributes, a frame at a time.

Nothing that stands in the file is believed: each method raises `Damage`, with the offset, for
what is impossible, does not match its digest, or would lead out of the file; what it allocates is
bounded by the file's size or by one frame (`FRAME_BYTES_MAX`), whichever is larger.

No directory can be reached by two ways, so no walk can go in circles: a directory's number is
above its parent's, and it tells which directory that is.

What it is *not*: the search for the archive in the file (opening.py), file content (content.py), or
a complete check of an archive (verify.py): much is never looked at unless asked for.

Concurrency: for one thread at a time. With an impatient `Source`, methods raise `NotCached` and can
be called again; nothing is half done.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from vfsd.archive.content import Content, Extent
from vfsd.archive.damage import Damage
from vfsd.archive.directory import Page, PageIndex, decode_index, decode_page
from vfsd.archive.frames import Frames
from vfsd.archive.layout import (
    DIGEST,
    DIRECTORY,
    EXTENT,
    FLAG_INDEXED,
    FLAG_SPARSE,
    INODE,
    KINDS,
    NANOSECONDS,
    REGULAR,
    ROOT_NODE,
    SIZE_MAX,
    SYMLINK,
    TARGET_MAX,
    XATTR_NAMES_MAX,
    XATTRS_MAX,
    Inode,
)
from vfsd.archive.opening import find
from vfsd.archive.source import Source
from vfsd.archive.table import Table
from vfsd.archive.tree import Found
from vfsd.attributes import Stat
from vfsd.codec import CodecError, decode_flat
from vfsd.digest import content_digest

PAGES_MAX = 256
"""Pages and indexes of directories that are kept in memory."""

_ALLOWED_MODE = 0o177777


class Archive:
    """See the module. `close` it; it is a context manager."""

    def __init__(self, source: Source) -> None:
        """Read from `source`, which `close` closes. Damage, Changed; `source` stays open then."""
        self.source = source
        self.root = find(source)
        self._inodes = Table(source, INODE, self.root.inodes, self.root.inode_count)
        self.frames = Frames(source, self.root.frames, self.root.frame_count, self.root.frame_bytes)
        self._pages: OrderedDict[int, Page | PageIndex] = OrderedDict()

    @classmethod
    def open(cls, path: str | bytes | os.PathLike[str]) -> Archive:
        """Open an archive, or a file with one at its end. OSError, UserError, Damage."""
        source = Source.open(path)
        try:
            return cls(source)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Close the file; once."""
        self.source.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def length(self) -> int:
        """How many bytes the archive has."""
        return self.source.length

    @property
    def unlinked(self) -> bool:
        """Whether the file has lost its name: what stands there now is another one."""
        return self.source.unlinked

    def hurry(self) -> None:
        """See `Source.hurry`."""
        self.source.hurry()

    def warm(self, offset: int, size: int) -> None:
        """See `Source.warm`."""
        self.source.warm(offset, size)

    def statistics(self) -> Mapping[str, int]:
        """Return counters, for `vfsd status`."""
        return {
            "nodes": self.count,
            "verified_frames": self.frames.verified_frames,
            "read_bytes": self.frames.read_bytes,
        }

    # -- attributes -----------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many nodes there are; they are numbered from 1, the root directory."""
        return self._inodes.count

    def inode(self, number: int) -> Inode:
        """Return the record of a node. Damage."""
        if not ROOT_NODE <= number <= self._inodes.count:
            raise Damage(f"there is no node {number}")
        inode = Inode._make(self._inodes.record(number - 1))
        mode = inode[0]
        if (
            mode & 0o170000 not in KINDS
            or mode > _ALLOWED_MODE
            or inode[5] >= NANOSECONDS
            or inode[7] > SIZE_MAX
            or inode[14] > SIZE_MAX
        ):
            raise Damage(f"node {number} has impossible attributes", self.offset_of(number))
        if inode[10] > FLAG_SPARSE | FLAG_INDEXED:
            raise Damage(
                f"node {number} is stored in a way that only a newer vfsd knows",
                self.offset_of(number),
            )
        if number == ROOT_NODE and mode & 0o170000 != DIRECTORY:
            raise Damage("the root is no directory", self.offset_of(number))
        return inode

    def offset_of(self, number: int) -> int:
        """Return where the record of a node stands, for a complaint."""
        return self._inodes.offset_of(number - 1)

    # -- directories ----------------------------------------------------------------------

    def names(self, number: int, inode: Inode) -> list[bytes]:
        """Return all names in a directory, ascending. Damage."""
        top = self._block(number, inode)
        if isinstance(top, Page):
            return top.names
        names: list[bytes] = []
        for position in range(len(top.places)):
            names += self._page(number, top, position).names
        return names

    def lookup(self, number: int, inode: Inode, name: bytes) -> Found | None:
        """Return what `name` in a directory stands for, None if nothing. Damage."""
        top = self._block(number, inode)
        if not isinstance(top, Page):
            position = top.page_of(name)
            if position is None:
                return None
            top = self._page(number, top, position)
        at = top.position(name)
        return None if at is None else self._found(number, top, at)

    def scan(self, number: int, inode: Inode) -> Iterator[tuple[bytes, Found]]:
        """Yield all names in a directory with what they stand for, ascending. Damage."""
        top = self._block(number, inode)
        if isinstance(top, Page):
            pages: Iterator[Page] = iter((top,))
        else:
            index = top
            pages = (self._page(number, index, at) for at in range(len(index.places)))
        for page in pages:
            for at, name in enumerate(page.names):
                yield name, self._found(number, page, at)

    def _found(self, owner: int, page: Page, at: int) -> Found:
        number = page.nodes[at]
        inode = self.inode(number)
        if inode[0] & 0o170000 == DIRECTORY and (
            inode.size != owner or number <= owner or at in page.links
        ):
            raise Damage(
                f"directory {number} stands in directory {owner}, which is not its parent",
                self.offset_of(number),
            )
        return Found(number, inode)

    def _block(self, number: int, inode: Inode) -> Page | PageIndex:
        known = self._pages.get(inode.place)
        if known is not None:
            return known
        offset = inode.place
        block = self._checked(offset, inode.stored, inode.digest, "directory's block")
        made: Page | PageIndex
        if inode.flags & FLAG_INDEXED:
            made = decode_index(block, offset)
        else:
            made = decode_page(block, offset, number, self.count)
        return self._keep(offset, made)

    def _page(self, number: int, index: PageIndex, position: int) -> Page:
        offset, length, digest = index.places[position]
        page = self._pages.get(offset)
        if page is None:
            block = self._checked(offset, length, digest, "directory's page")
            page = self._keep(offset, decode_page(block, offset, number, self.count))
        firsts = index.firsts
        end = firsts[position + 1] if position + 1 < len(firsts) else None
        if (
            not isinstance(page, Page)
            or page.names[:1] != [firsts[position]]
            or (end is not None and page.names[-1] >= end)
        ):
            raise Damage("a page of a directory has other names than its index tells", offset)
        return page

    def _keep(self, offset: int, made: Page | PageIndex) -> Page | PageIndex:
        self._pages[offset] = made
        if len(self._pages) > PAGES_MAX:
            self._pages.popitem(last=False)
        return made

    def _checked(self, offset: int, length: int, digest: bytes, what: str) -> bytearray:
        block = self.source.read(offset, length)
        if content_digest(block) != digest:
            raise Damage(f"a {what} does not match its digest", offset)
        return block

    # -- what belongs to a node -----------------------------------------------------------

    def target(self, inode: Inode) -> bytes:
        """Return a symlink's target, as stored. Damage."""
        assert inode.kind == SYMLINK
        if not 0 < inode.stored <= TARGET_MAX or inode.size != inode.stored:
            raise Damage("a symlink's target has an impossible length", inode.place)
        target = bytes(self._checked(inode.place, inode.stored, inode.digest, "symlink's target"))
        if b"\0" in target:
            raise Damage("a symlink's target holds a zero byte", inode.place)
        return target

    def xattrs(self, inode: Inode) -> dict[bytes, bytes]:
        """Return the extended attributes. Damage."""
        if not inode.xattrs:
            return {}
        offset, length = inode.xattrs, inode.xattrs_length
        if not DIGEST < length <= XATTRS_MAX:
            raise Damage("extended attributes have an impossible length", offset)
        block = self.source.read(offset, length)
        if content_digest(memoryview(block)[DIGEST:]) != block[:DIGEST]:
            raise Damage("extended attributes do not match their digest", offset)
        try:
            items = decode_flat(memoryview(block)[DIGEST:], 2 * XATTR_NAMES_MAX)
        except CodecError as error:
            raise Damage(f"a block of extended attributes is {error}", offset) from error
        names = items[::2]
        if (
            len(items) % 2
            or not all(type(item) is bytes for item in items)
            or len(set(names)) != len(names)
            or any(not 0 < len(name) <= 255 or b"\0" in name for name in names)
        ):
            raise Damage("a block of extended attributes holds something else", offset)
        return dict(zip(names, items[1::2], strict=True))

    def content(self, inode: Inode) -> Content:
        """Return the content of a regular file, to be read. Damage."""
        assert inode.kind == REGULAR
        if not inode.flags & FLAG_SPARSE:
            extents = [Extent(0, inode.size, inode.place, inode.skip)] if inode.size else []
            return Content(self.frames, inode.size, extents, inode.place)
        offset = inode.place
        if inode.stored < DIGEST or (inode.stored - DIGEST) % EXTENT.size:
            raise Damage("the map of a sparse file has an impossible length", offset)
        block = self.source.read(offset, inode.stored)
        if content_digest(memoryview(block)[DIGEST:]) != block[:DIGEST]:
            raise Damage("the map of a sparse file does not match its digest", offset)
        extents = [
            Extent(start, length, frame, 0)
            for start, length, frame in EXTENT.iter_unpack(memoryview(block)[DIGEST:])
        ]
        return Content(self.frames, inode.size, extents, offset)


def stat_of(inode: Inode) -> Stat:
    """Return the attributes as `stat(2)` gives them; an archive keeps one time, mtime."""
    kind = inode[0] & 0o170000
    time_ns = inode[4] * NANOSECONDS + inode[5]
    size = rdev = 0
    if kind in (REGULAR, SYMLINK):
        size = inode[7]
    elif kind not in (DIRECTORY,):
        rdev = inode[7]
    blocks = (inode[14] + 4095) // 4096 * 8
    return Stat(
        inode[0], inode[1], inode[2], inode[3], rdev, size, blocks, time_ns, time_ns, time_ns
    )
