"""Writing a view's files into a directory of the host, with everything that a layer needs.

Types, contents with their holes, modes, owners (as far as the user may), times, extended
attributes, hard links; whiteouts are devices like any other, which ordinary users may make as
well. Every file is reached by its directory's descriptor, so paths may be of any length.

What it is *not*: applying to a directory that somebody uses; the target is new and nobody's yet.

Concurrency: blocking calls. An error leaves an unfinished target, for the caller to remove.

Source: mknod(2): a character device 0:0 needs no privilege since Linux 5.8.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Hashable, Mapping
from contextlib import suppress

from vfsd.attributes import Stat
from vfsd.snapshots.filecopy import CHUNK_BYTES, copy_data, write_sparsely
from vfsd.snapshots.marks import is_mark
from vfsd.snapshots.syscalls import open_beneath
from vfsd.snapshots.view import Item, KnowsHoles, TreeView

_DIRECTORY = os.O_PATH | os.O_DIRECTORY


def write_tree(view: TreeView, target: str) -> None:
    """Make the directory `target` with all that `view` shows. OSError names what failed."""
    os.mkdir(target, 0o700)
    top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _Write(view, top).run()
    finally:
        os.close(top)


class _Write:
    def __init__(self, view: TreeView, top: int) -> None:
        self._view = view
        self._top = top
        self._first: dict[Hashable, bytes] = {}

    def run(self) -> None:
        finished: list[tuple[bytes, Item]] = [(b"", self._view.item(b""))]
        todo = [b""]
        while todo:
            path = todo.pop()
            parent = open_beneath(self._top, path, _DIRECTORY)
            try:
                for name, item in self._view.scan(path).items():
                    inner = path + b"/" + name if path else name
                    if stat_module.S_ISDIR(item.stat.mode):
                        os.mkdir(name, 0o700, dir_fd=parent)
                        finished.append((inner, item))
                        todo.append(inner)
                    elif not self._is_linked(parent, name, inner, item):
                        write_file(self._view, inner, item, parent, name)
            finally:
                os.close(parent)
        # Children change their directory's times, and a closed directory takes no children.
        for path, item in reversed(finished):
            parent = open_beneath(self._top, path, _DIRECTORY)
            try:
                set_attributes(reached(parent, b"."), item.stat, self._view.xattrs(path))
            finally:
                os.close(parent)

    def _is_linked(self, parent: int, name: bytes, path: bytes, item: Item) -> bool:
        """Link the file to one that was written before, if it is the same."""
        first = self._first.setdefault(item.identity, path)
        if first == path:
            return False
        way, _, known = first.rpartition(b"/")
        source = open_beneath(self._top, way, _DIRECTORY)
        try:
            os.link(known, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            self._first[item.identity] = path
            return False
        finally:
            os.close(source)
        return True


def write_file(view: TreeView, path: bytes, item: Item, parent: int, name: bytes) -> None:
    """Make one file that is no directory, as `name` in the directory `parent`."""
    mode = item.stat.mode
    if stat_module.S_ISREG(mode):
        _write_data(view, path, item.stat.size, parent, name)
    elif stat_module.S_ISLNK(mode):
        os.symlink(view.readlink(path), name, dir_fd=parent)
    else:
        os.mknod(name, stat_module.S_IFMT(mode) | 0o600, item.stat.rdev, dir_fd=parent)
    set_attributes(reached(parent, name), item.stat, view.xattrs(path))


def set_attributes(target: bytes, stat: Stat, xattrs: Mapping[bytes, bytes]) -> None:
    """Give a new file its owner, attributes, mode and times, in the order that keeps them."""
    with suppress(PermissionError):
        os.chown(target, stat.uid, stat.gid, follow_symlinks=False)
    for name, value in xattrs.items():
        try:
            os.setxattr(target, name, value, follow_symlinks=False)
        except PermissionError:
            # As with owners: some are root's to give. A mark says what the tree is, though.
            if name.startswith(b"user.") or is_mark(name):
                raise
    if not stat_module.S_ISLNK(stat.mode):
        os.chmod(target, stat_module.S_IMODE(stat.mode))
    os.utime(target, ns=(stat.atime_ns, stat.mtime_ns), follow_symlinks=False)


def reached(directory: int, name: bytes) -> bytes:
    """Return a path to `name` in an open directory, for calls that take no descriptor."""
    return b"/proc/self/fd/%d/%s" % (directory, name)


def _write_data(view: TreeView, path: bytes, size: int, parent: int, name: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    target = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        with view.open(path) as source:
            if not isinstance(source, KnowsHoles):
                copy_data(source, target, size, lambda _: None)
                return
            offset = source.next_data(0)
            while offset is not None and offset < size:
                source.seek(offset)
                data = source.read(min(CHUNK_BYTES, size - offset))
                if not data:
                    break
                write_sparsely(target, data, offset)
                offset = source.next_data(offset + len(data))
            os.ftruncate(target, size)
    finally:
        os.close(target)
