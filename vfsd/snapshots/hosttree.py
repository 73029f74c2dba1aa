"""A directory of the host as a `TreeView`: read by file descriptors, nothing ever followed.

Every path is opened below the root's own descriptor with `openat2(RESOLVE_BENEATH |
RESOLVE_NO_SYMLINKS)`: a symlink in the way is an error, whoever puts it there and when. The
root may be renamed meanwhile; the view stays with it. Mounts inside are entered.

What it is *not*: a layer's meaning. Whiteouts show as the devices they are, and with
`marks=True` the overlay's attributes show as well: that is how layered.py reads a layer.

Where nobody changes the tree (`sealed=True`, a layer of the store), the directory that was
reached last stays open (lastdirectory.py).

Concurrency: blocking calls. Nothing but the root's descriptor is kept, so threads may share one;
a sealed one is for one thread at a time. A directory that changes while it is listed shows each
name as it was or is, and leaves out what has gone.

Sources: openat2(2); proc(5) on /proc/self/fd, which reaches a symlink's attributes by
descriptor.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Mapping
from types import TracebackType
from typing import BinaryIO, Self

from vfsd.attributes import Stat
from vfsd.snapshots.lastdirectory import LastDirectory
from vfsd.snapshots.marks import is_mark
from vfsd.snapshots.syscalls import open_beneath
from vfsd.snapshots.view import Item

_NO_XATTRS = (errno.EOPNOTSUPP, errno.ENOSYS)


class HostTree:
    """See the module. Holds one descriptor until `close`; also a context manager."""

    def __init__(
        self,
        root: str | bytes | os.PathLike[str],
        *,
        marks: bool = False,
        kind: str = "host",
        sealed: bool = False,
    ) -> None:
        """Open `root`, which must be a directory; a symlink there *is* followed.

        `kind` tells files of views that read a directory differently apart: it is part of
        every item's `source`.
        """
        self.root = os.fsencode(root)
        self._marks = marks
        self._kind = kind
        self._sealed = sealed
        self._last = LastDirectory()
        self._attributes: tuple[bytes, Mapping[bytes, bytes]] | None = None
        self._fd = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the root's descriptor back. May be called twice."""
        self._last.leave()
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def item(self, path: bytes) -> Item:
        """Return the file at `path` (`lstat`). ENOENT, ENOTDIR."""
        parent, name = self._parent(path)
        try:
            return self._item(os.stat(name, dir_fd=parent, follow_symlinks=False))
        except OSError as error:
            raise self._named(error, path) from error
        finally:
            os.close(parent)

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """Return the files in the directory `path`, by name. ENOENT, ENOTDIR, EACCES."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        found = {}
        inside = path
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    inside = path + b"/" + name if path else name
                    try:
                        found[name] = self._item(entry.stat(follow_symlinks=False))
                    except FileNotFoundError:
                        continue
        except OSError as error:
            raise self._named(error, inside) from error
        finally:
            os.close(fd)
        return found

    def readlink(self, path: bytes) -> bytes:
        """Return the symlink's target, as stored. EINVAL if it is none."""
        parent, name = self._parent(path)
        try:
            return os.readlink(name, dir_fd=parent)
        except OSError as error:
            raise self._named(error, path) from error
        finally:
            os.close(parent)

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """Return the extended attributes; the overlay's own only with `marks`."""
        # A layer's are asked for twice: for marks, and for what there is beside them.
        if self._attributes is not None and self._attributes[0] == path:
            return self._attributes[1]
        parent, name = self._parent(path)
        try:
            # The last name is not followed; what stands before it is our own descriptor.
            reached = b"/proc/self/fd/%d/%s" % (parent, name)
            found = self._xattrs(reached)
            if self._sealed:
                self._attributes = path, found
            return found
        except OSError as error:
            raise self._named(error, path) from error
        finally:
            os.close(parent)

    def open(self, path: bytes) -> BinaryIO:
        """Open the regular file for reading; the caller closes it. EINVAL for another type."""
        # O_NONBLOCK: a FIFO must not hold the reader up until it is seen to be one.
        fd = self._open_file(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat_module.S_ISREG(os.fstat(fd).st_mode):
                raise self._named(OSError(errno.EINVAL, os.strerror(errno.EINVAL)), path)
            return os.fdopen(fd, "rb")
        except BaseException:
            os.close(fd)
            raise

    def directory(self, path: bytes) -> int:
        """Return an `O_PATH` descriptor of the directory, for `*at` calls; the caller closes it."""
        return self._open(path, os.O_PATH | os.O_DIRECTORY)

    def _xattrs(self, reached: bytes) -> dict[bytes, bytes]:
        found = {}
        try:
            names = os.listxattr(reached, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_XATTRS:
                return {}
            raise
        for text in names:
            name = os.fsencode(text)
            if self._marks or not is_mark(name):
                try:
                    found[name] = os.getxattr(reached, name, follow_symlinks=False)
                except OSError as error:
                    if error.errno != errno.ENODATA:
                        raise
        return found

    def _item(self, found: os.stat_result) -> Item:
        stat = Stat(
            found.st_mode,
            found.st_nlink,
            found.st_uid,
            found.st_gid,
            found.st_rdev,
            found.st_size,
            found.st_blocks,
            found.st_atime_ns,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_blksize,
        )
        identity = (found.st_dev, found.st_ino)
        return Item(stat, identity, (self._kind, *identity))

    def _open(self, path: bytes, flags: int, about: bytes | None = None) -> int:
        try:
            return open_beneath(self._fd, path, flags)
        except OSError as error:
            raise self._named(error, path if about is None else about) from error

    def _open_file(self, path: bytes, flags: int) -> int:
        if not self._sealed or not path:
            return self._open(path, flags)
        parent, name = self._parent(path)
        try:
            # One name below a directory that is held, and no symlink: it cannot lead out.
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            raise self._named(error, path) from error
        finally:
            os.close(parent)

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        way, _, name = path.rpartition(b"/")
        if name == b"..":
            raise self._named(OSError(errno.ENOENT, os.strerror(errno.ENOENT)), path)
        parent = self._last.reach(way)
        if parent is None:
            parent = self._open(way, os.O_PATH | os.O_DIRECTORY, path)
            if self._sealed:
                self._last.keep(way, parent)
        return parent, name or b"."

    def _named(self, error: OSError, path: bytes) -> OSError:
        code = error.errno or errno.EIO
        # A symlink where a directory has to stand, as any walk that follows none has it.
        if code in (errno.ELOOP, errno.EXDEV):
            code = errno.ENOTDIR
        where = os.path.join(self.root, path) if path else self.root
        return OSError(code, os.strerror(code), os.fsdecode(where))
