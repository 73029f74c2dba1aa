"""A `TreeView` into an archive: types, contents, attributes, links, holes, a layer's marks.

Directories come before what is in them and names in order, so that the same view gives the same
bytes. A content goes through in bounded pieces, and what reads as zeros is not read where the
file can tell.

What it is *not*: the archive's format (vfsd/archive), or its file's name and durability.

Concurrency: blocking calls, for the thread that uses the view.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable, Hashable, Iterator
from typing import BinaryIO

from vfsd.archive.writer import ArchiveWriter, Attributes, Hole, Piece
from vfsd.attributes import Stat
from vfsd.snapshots.frozen import KnowsHoles
from vfsd.snapshots.packed import PackedFile
from vfsd.snapshots.view import TreeView

PIECE_BYTES = 1 << 20
SPARSE_PIECE_BYTES = 1 << 17
"""For a file with holes that cannot tell where they begin: so much of it is taken for data."""

Told = Callable[[int, int], None]
"""Is told, after each file, how many files are written by now, and how many bytes."""


def pack_view(view: TreeView, writer: ArchiveWriter, told: Told | None = None) -> tuple[int, int]:
    """Add all that `view` shows; return how many files that was, and how many bytes."""
    files = size_bytes = 0
    known: dict[Hashable, bytes] = {}
    writer.add_directory(b"", _attributes(view.item(b"").stat), view.xattrs(b""))
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        below = []
        for name, item in sorted(view.scan(path).items()):
            inner = path + b"/" + name if path else name
            stat = item.stat
            files += 1
            if stat_module.S_ISDIR(stat.mode):
                writer.add_directory(inner, _attributes(stat), view.xattrs(inner))
                below.append(inner)
                continue
            first = known.setdefault(item.identity, inner) if stat.nlink > 1 else inner
            if first != inner:
                writer.add_link(inner, first)
            elif stat_module.S_ISREG(stat.mode):
                with view.open(inner) as file:
                    parts = pieces(file, stat)
                    xattrs = view.xattrs(inner)
                    size_bytes += writer.add_file(inner, _attributes(stat), parts, xattrs)
            elif stat_module.S_ISLNK(stat.mode):
                target = view.readlink(inner)
                writer.add_symlink(inner, _attributes(stat), target, view.xattrs(inner))
            else:
                writer.add_special(inner, _attributes(stat), view.xattrs(inner))
            if told is not None:
                told(files, size_bytes)
        waiting.extend(reversed(below))
    return files, size_bytes


def _attributes(stat: Stat) -> Attributes:
    return Attributes(stat.mode, stat.uid, stat.gid, stat.mtime_ns, stat.rdev)


def pieces(file: BinaryIO, stat: Stat) -> Iterator[Piece]:
    """Yield the file's content, holes as such; as much as there is if it is shorter now."""
    offset, size = 0, stat.size
    sparse = stat.blocks * 512 < size
    piece_bytes = SPARSE_PIECE_BYTES if sparse else PIECE_BYTES
    while offset < size:
        start = _next_data(file, offset) if sparse else offset
        start = size if start is None else min(start, size)
        if start > offset:
            yield Hole(start - offset)
            offset = start
            continue
        end = min(_next_hole(file, offset, offset + piece_bytes) if sparse else size, size)
        file.seek(offset)
        while offset < end:
            piece = file.read(min(PIECE_BYTES, end - offset))
            if not piece:
                return
            yield piece
            offset += len(piece)


def _next_data(file: BinaryIO, offset: int) -> int | None:
    """Return where data begins from `offset` on, None if there are only zeros; or `offset`."""
    if isinstance(file, KnowsHoles):
        return file.next_data(offset)
    try:
        return os.lseek(file.fileno(), offset, os.SEEK_DATA)
    except OSError as error:
        # ENXIO: no more data. Whatever else: not a file that could tell.
        return None if error.errno == errno.ENXIO else offset


def _next_hole(file: BinaryIO, offset: int, otherwise: int) -> int:
    """Return where the data at `offset` ends, or `otherwise` where the file cannot tell."""
    if isinstance(file, PackedFile):
        return file.next_hole(offset)
    if isinstance(file, KnowsHoles):
        return otherwise
    try:
        return os.lseek(file.fileno(), offset, os.SEEK_HOLE)
    except OSError:
        return otherwise
