"""Write an archive: entries in any order, then `finish`.

    with OutFile("app.vfsa") as out:
        with ArchiveWriter(out.fd) as writer:
            writer.add_directory(b"", Attributes(S_IFDIR | 0o755))
            writer.add_file(b"bin/run", Attributes(S_IFREG | 0o755), [b"data", Hole(1 << 30)])
            writer.finish()
        out.commit()

The same entries give the same bytes: nothing of the host, the clock or the order of entries'
names goes in (contents stand in the order in which they come).

What it is *not*: a reader of trees (vfsd/snapshots, vfsd/cli/pack.py), nor the file's name and
durability (outfile.py).

Concurrency: for one thread at a time; compression has threads of its own.
"""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Iterable, Mapping
from typing import Self

from vfsd.archive.compression import LEVELS, NAMES
from vfsd.archive.contentwriter import ContentWriter, Hole, Piece, Placed
from vfsd.archive.directory import encode_index, encode_page
from vfsd.archive.framewriter import FrameWriter, Method
from vfsd.archive.growing import NOTHING, Attributes, Folder, Growing, Grown
from vfsd.archive.layout import (
    BLOCK,
    CHARACTER,
    FIFO,
    FLAG_INDEXED,
    FRAME,
    FRAME_BYTES,
    HEADER,
    HEADER_MAGIC,
    INODE,
    MAJOR,
    MINOR,
    NANOSECONDS,
    PAGE_NAMES_MAX,
    REGULAR,
    SOCKET,
    SYMLINK,
    TARGET_MAX,
    TRAILER,
    TRAILER_MAGIC,
    XATTR_NAMES_MAX,
    XATTRS_MAX,
)
from vfsd.archive.opening import CHECKED, Root
from vfsd.archive.stream import Stream
from vfsd.archive.table import encode_table
from vfsd.codec import encode
from vfsd.digest import content_digest, short_key
from vfsd.errors import fail

__all__ = ["ArchiveWriter", "Attributes", "Hole", "Piece"]

SPECIAL = {FIFO, SOCKET, CHARACTER, BLOCK}


class ArchiveWriter:
    """See the module. A context manager that ends its threads; unfinished work is just left."""

    def __init__(
        self,
        fd: int,
        start: int = 0,
        *,
        compression: str = "zstd",
        level: int | None = None,
        created_s: int = 0,
        workers: int | None = None,
    ) -> None:
        """Write at `start` of `fd`, a multiple of 4096; what stands after it is cut off.

        `compression` is none, zlib, zstd or xz. The caller keeps `fd`.
        """
        codec = NAMES[compression]
        method = Method(codec, LEVELS[compression] if level is None else level)
        self._stream = Stream(fd, start)
        self._frames = FrameWriter(self._stream, method, workers)
        self._contents = ContentWriter(self._stream, self._frames, FRAME_BYTES, codec)
        self._created_s = created_s
        implied = Attributes(stat_module.S_IFDIR | 0o755, mtime_ns=created_s * NANOSECONDS)
        self._tree = Growing(implied)
        self._targets: dict[int, bytes] = {}
        self._xattrs: dict[bytes, int] = {}
        self._content_bytes = 0
        self._names = 0
        self._stream.write(_header(created_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._frames.close()

    # -- entries --------------------------------------------------------------------------
    #
    # Each raises EEXIST for a name that is there, ENOTDIR below something that is no
    # directory, EINVAL or ENAMETOOLONG for an impossible name or value. Missing directories
    # are made, and can be told later.

    def add_directory(
        self, path: bytes, attributes: Attributes, xattrs: Mapping[bytes, bytes] | None = None
    ) -> None:
        """Add a directory; the root is ``b""``."""
        _check_attributes(path, attributes, {stat_module.S_IFDIR})
        self._tree.add_folder(path, attributes, self._xattr_block(path, xattrs))

    def add_file(
        self,
        path: bytes,
        attributes: Attributes,
        pieces: Iterable[Piece],
        xattrs: Mapping[bytes, bytes] | None = None,
        *,
        unique: bool = False,
    ) -> int:
        """Add a regular file and return its size; `unique`: no other can have its content."""
        _check_attributes(path, attributes, {REGULAR})
        node = Grown(attributes, NOTHING, self._xattr_block(path, xattrs))
        self._tree.add(path, node)
        node.placed = self._contents.add(pieces, unique=unique)
        self._content_bytes += node.placed.size
        return node.placed.size

    def add_symlink(
        self,
        path: bytes,
        attributes: Attributes,
        target: bytes,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Add a symlink with its target as it is."""
        _check_attributes(path, attributes, {SYMLINK})
        if not target or b"\0" in target:
            raise fail(errno.EINVAL, path)
        if len(target) > TARGET_MAX:
            raise fail(errno.ENAMETOOLONG, path)
        node = Grown(attributes, NOTHING, self._xattr_block(path, xattrs))
        self._tree.add(path, node)
        self._targets[id(node)] = target

    def add_special(
        self, path: bytes, attributes: Attributes, xattrs: Mapping[bytes, bytes] | None = None
    ) -> None:
        """Add a FIFO, a socket or a device node (0:0 is a whiteout to an overlay)."""
        _check_attributes(path, attributes, SPECIAL)
        self._tree.add(path, Grown(attributes, NOTHING, self._xattr_block(path, xattrs)))

    def add_link(self, path: bytes, existing: bytes) -> None:
        """Give what was added as `existing` another name. ENOENT, EPERM for a directory."""
        node = self._tree.find(existing)
        if isinstance(node, Folder):
            raise fail(errno.EPERM, existing)
        self._tree.add(path, node)
        node.links += 1

    # -- the end --------------------------------------------------------------------------

    def finish(self) -> int:
        """Write the index and return the archive's length in bytes. OSError."""
        self._contents.finish()
        nodes = list(self._tree.number())
        blocks = self._write_xattrs()
        inodes = [self._inode(node, blocks) for node in nodes]
        inodes_at = self._write_table(INODE.size, inodes)
        frames_at = self._write_table(FRAME.size, self._frames.records)
        root = Root(
            self._created_s,
            inodes_at,
            len(inodes),
            frames_at,
            len(self._frames.records),
            FRAME_BYTES,
            self._names,
            self._content_bytes,
        )
        told = [each for pair in list(root._asdict().items())[1:] for each in pair]
        block = encode(told)
        at = self._stream.write(block)
        self._stream.write(trailer(self._stream.offset + TRAILER.size, at, block))
        self._stream.finish()
        return self._stream.offset

    def _write_table(self, record_bytes: int, records: list[bytes]) -> int:
        self._stream.align()
        at = self._stream.offset
        layout = INODE if record_bytes == INODE.size else FRAME
        for block in encode_table(layout, records):
            self._stream.write(block)
        return at

    def _xattr_block(self, path: bytes, xattrs: Mapping[bytes, bytes] | None) -> int:
        """Return which of the blocks holds these, from 1; 0 for none."""
        if not xattrs:
            return 0
        packed = encode([each for pair in sorted(xattrs.items()) for each in pair])
        if (
            len(xattrs) > XATTR_NAMES_MAX
            or len(packed) > XATTRS_MAX - 16
            or any(not 0 < len(name) <= 255 or b"\0" in name for name in xattrs)
        ):
            raise fail(errno.E2BIG, path)
        return self._xattrs.setdefault(packed, len(self._xattrs) + 1)

    def _write_xattrs(self) -> list[tuple[int, int]]:
        blocks = [(0, 0)]
        for packed in self._xattrs:
            block = content_digest(packed) + packed
            blocks.append((self._stream.write(block), len(block)))
        return blocks

    def _inode(self, node: Grown, blocks: list[tuple[int, int]]) -> bytes:
        attributes = node.attributes
        placed = node.placed
        size = placed.size
        if isinstance(node, Folder):
            placed = self._write_folder(node)
            size = node.parent.number if node.number > 1 else 0
        elif (target := self._targets.get(id(node))) is not None:
            at = self._stream.write(target)
            size = len(target)
            placed = Placed(size, at, 0, size, 0, 0, content_digest(target))
        elif attributes.mode & 0o170000 != REGULAR:
            size = attributes.rdev
        seconds, nanoseconds = divmod(attributes.mtime_ns, NANOSECONDS)
        return INODE.pack(
            attributes.mode,
            node.links,
            attributes.uid,
            attributes.gid,
            seconds,
            nanoseconds,
            placed.skip,
            size,
            placed.place,
            placed.stored,
            placed.flags,
            *blocks[node.xattrs],
            0,
            placed.allocated,
            placed.digest,
        )

    def _write_folder(self, folder: Folder) -> Placed:
        names = sorted(folder.names)
        self._names += len(names)
        starts = range(0, max(1, len(names)), PAGE_NAMES_MAX)
        pages = [self._page(folder, names[at : at + PAGE_NAMES_MAX]) for at in starts]
        if len(pages) == 1:
            block, flags = pages[0], 0
        else:
            places = [(self._stream.write(page), len(page), content_digest(page)) for page in pages]
            block, flags = encode_index(names[::PAGE_NAMES_MAX], places), FLAG_INDEXED
        return Placed(0, self._stream.write(block), 0, len(block), flags, 0, content_digest(block))

    def _page(self, folder: Folder, names: list[bytes]) -> bytes:
        links: list[tuple[int, int]] = []
        first = 0
        for position, name in enumerate(names):
            number = folder.names[name].number
            if (folder.number, name) in self._tree.further:
                links.append((position, number))
            elif not first:
                first = number
        return encode_page(first, names, links)


def _check_attributes(path: bytes, attributes: Attributes, kinds: Iterable[int]) -> None:
    if attributes.mode & 0o170000 not in kinds or attributes.mode >> 16:
        raise fail(errno.EINVAL, path)


def _header(created_s: int) -> bytes:
    packed = HEADER.pack(HEADER_MAGIC, MAJOR, MINOR, 0, created_s, bytes(24), bytes(16))
    return packed[: HEADER.size - 16] + content_digest(packed[: HEADER.size - 16])


def trailer(length: int, root: int, block: bytes, start_back: int | None = None) -> bytes:
    """Return the trailer of an archive of `length` bytes, its own included."""
    packed = TRAILER.pack(
        length if start_back is None else start_back,
        length,
        root,
        len(block),
        MAJOR,
        MINOR,
        content_digest(block),
        0,
        TRAILER_MAGIC,
    )
    head = packed[:CHECKED]
    return head + short_key(head).to_bytes(8, "little") + TRAILER_MAGIC
