"""A tree, or what differs between two, as the tar archive of an OCI layer.

A name that is gone becomes an empty file ``.wh.NAME``. What changed is there in full. Names that
begin with ``.wh.`` cannot be told from that, so a tree that has any is refused. Sockets have no
form in tar and are left out and named.

The same trees give the same bytes: files stand in order, holes follow from content alone, and a
hard link refers to the first name of its file.

What it is *not*: images, which are made of layers (ociexport.py).

Concurrency: reads the views in the caller's thread.

Source: OCI image specification, layer.md.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from vfsd.errors import UserError, fail
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.changes import Change, compare, is_directory
from vfsd.snapshots.emptytree import EmptyTree
from vfsd.snapshots.marks import escaped
from vfsd.snapshots.quoting import shown
from vfsd.snapshots.reading import data_ranges, read_full
from vfsd.snapshots.tarformat import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    Segment,
    TarEntry,
)
from vfsd.snapshots.tarwrite import TarWriter
from vfsd.snapshots.view import Item, TreeView

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"

SPARSE_BYTES_MIN = 1 << 20
"""Smaller files are written whole, zeros included."""

_HOLE_BYTES = 1 << 12
_CHUNK_BYTES = 1 << 20
_ZEROS = bytes(_HOLE_BYTES)

_KINDS = {
    stat_module.S_IFREG: REGULAR,
    stat_module.S_IFDIR: DIRECTORY,
    stat_module.S_IFLNK: SYMLINK,
    stat_module.S_IFIFO: FIFO,
    stat_module.S_IFCHR: CHARACTER,
    stat_module.S_IFBLK: BLOCK,
}


class LayerTar:
    """Writes changes, which lead to `view`, with `write`; `left_out` names what has no form."""

    def __init__(
        self,
        view: TreeView,
        write: Callable[[bytes], object],
        told: Callable[[int, int], None] | None = None,
    ) -> None:
        self._view = view
        self._tar = TarWriter(write)
        self._told = told
        self._first: dict[Hashable, bytes] = {}
        self._written: set[bytes] = set()
        self.left_out: list[bytes] = []

    def run(self, changes: Sequence[Change]) -> None:
        """Write them all, and the end. UserError names paths that no layer can hold."""
        refuse_whiteout_names(change.path for change in changes if change.new is not None)
        gone = {change.path for change in changes if not is_directory(change.new)}
        for change in changes:
            if change.new is None:
                if not _is_below(change.path, gone):
                    parent, _, name = change.path.rpartition(b"/")
                    path = parent + b"/" + WHITEOUT + name if parent else WHITEOUT + name
                    self._tar.add(TarEntry(path, REGULAR, 0o600))
                continue
            if change.link_to is not None and change.link_to not in self._written:
                # It is no change itself; but a link has to lead to a file of the same layer.
                self._add(change.link_to, self._view.item(change.link_to))
            self._add(change.path, change.new)
        self._tar.finish()

    def _add(self, path: bytes, item: Item) -> None:
        stat = item.stat
        kind = _KINDS.get(stat_module.S_IFMT(stat.mode))
        if kind is None:
            self.left_out.append(path)
            return
        self._written.add(path)
        target = b""
        if kind != DIRECTORY and stat.nlink > 1:
            first = self._first.setdefault(item.identity, path)
            if first != path:
                kind, target = LINK, first
        if kind == SYMLINK:
            target = self._view.readlink(path)
        size = stat.size if kind == REGULAR else 0
        segments = None
        if size >= SPARSE_BYTES_MIN:
            segments = self._segments(path, size)
        entry = TarEntry(
            name=(path or b".") + (b"/" if kind == DIRECTORY else b""),
            kind=kind,
            mode=stat.mode & 0o7777,
            uid=stat.uid,
            gid=stat.gid,
            size=size,
            mtime_ns=stat.mtime_ns,
            target=target,
            device=(os.major(stat.rdev), os.minor(stat.rdev))
            if kind in (CHARACTER, BLOCK)
            else (0, 0),
            xattrs={} if kind == LINK else escaped(self._view.xattrs(path)),
            segments=segments,
        )
        self._tar.add(entry, self._data(path, entry) if kind == REGULAR else ())
        if self._told is not None:
            self._told(1, size)

    def _segments(self, path: bytes, size: int) -> tuple[Segment, ...] | None:
        """Find where the file's data is; None if too little of it is zeros to be worth it."""
        segments: list[Segment] = []
        with self._view.open(path) as file:
            for begin, end in data_ranges(file, size):
                # In blocks of the file's own, so that the map follows from content alone.
                begin -= begin % _HOLE_BYTES
                end = min(end + -end % _HOLE_BYTES, size)
                begin = max(begin, sum(segments[-1]) if segments else 0)
                file.seek(begin)
                for offset, data in _pieces(file.read, end - begin, path):
                    _map_blocks(segments, begin + offset, data)
        if 2 * sum(length for _, length in segments) > size:
            return None
        if not segments or sum(segments[-1]) < size:
            segments.append((size, 0))
        return tuple(segments)

    def _data(self, path: bytes, entry: TarEntry) -> Iterator[bytes]:
        with self._view.open(path) as file:
            if entry.segments is None:
                for _, data in _pieces(file.read, entry.size, path):
                    yield data
                return
            for offset, length in entry.segments:
                file.seek(offset)
                for _, data in _pieces(file.read, length, path):
                    yield data


def whole_tree(view: TreeView) -> list[Change]:
    """Return every file of a tree, the root included, as added."""
    root = view.item(b"")
    return [Change(b"", None, root), *compare(EmptyTree(root), view)]


def refuse_whiteout_names(paths: Iterable[bytes]) -> None:
    """Raise UserError if a file is really called as a whiteout is."""
    for path in paths:
        if path.rpartition(b"/")[2].startswith(WHITEOUT):
            raise UserError(
                f"{shown(path)} cannot be exported: in a layer, a name that begins with '.wh.'"
                " says that a file is gone; rename it",
                ExitCode.REFUSED,
            )


def _pieces(
    read: Callable[[int], bytes | None], size: int, path: bytes
) -> Iterator[tuple[int, bytes]]:
    done = 0
    while done < size:
        data = read_full(read, min(_CHUNK_BYTES, size - done))
        if not data:
            raise fail(errno.EIO, path)
        yield done, data
        done += len(data)


def _map_blocks(segments: list[Segment], offset: int, data: bytes) -> None:
    """Add the blocks of `data` that are not all zeros."""
    for start in range(0, len(data), _HOLE_BYTES):
        block = data[start : start + _HOLE_BYTES]
        if block == _ZEROS[: len(block)]:
            continue
        at = offset + start
        if segments and sum(segments[-1]) == at:
            segments[-1] = segments[-1][0], segments[-1][1] + len(block)
        else:
            segments.append((at, len(block)))


def _is_below(path: bytes, gone: set[bytes]) -> bool:
    while path:
        path, _, _ = path.rpartition(b"/")
        if path in gone:
            return True
    return False
