"""Writing single files below a directory of the host, each in one step.

A file is made complete under a name of its own beside its target (`staged_name`) and renamed
over it, so that whoever looks, and whatever is killed, sees the old file or the new one. A file
and a directory change places by one exchange.

Traversal cannot escape: the directory of every path is opened below the root's descriptor with
RESOLVE_BENEATH and no symlinks followed (syscalls.py); from there on one name is used, in calls
that do not follow it; attributes are set through a descriptor of the file itself.

What it is *not*: the choice of what is written, and in which order (apply.py).

Concurrency: blocking calls, one thread at a time.

Sources: openat2(2), renameat2(2), linkat(2); proc(5) on /proc/self/fd.
"""

from __future__ import annotations

import errno
import os
import re
import stat as stat_module
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto

from vfsd.attributes import Stat
from vfsd.digest import short_key
from vfsd.errors import fail
from vfsd.snapshots.changes import PERMISSIONS
from vfsd.snapshots.conflicts import WHILE_WORKING
from vfsd.snapshots.filecopy import copy_data
from vfsd.snapshots.marks import is_mark
from vfsd.snapshots.metadata import Complain, MetadataSetter
from vfsd.snapshots.renaming import exchange, rename_fresh
from vfsd.snapshots.syscalls import open_beneath
from vfsd.snapshots.view import Item, TreeView

_STAGED_PREFIX = b".vfsd-apply."
_STAGED = re.compile(re.escape(_STAGED_PREFIX) + rb"[0-9a-f]{16}")


class Place(Enum):
    """What stands where a file is to go."""

    FREE = auto()
    FILE = auto()
    EMPTY_DIRECTORY = auto()


def staged_name(name: bytes) -> bytes:
    """Return the name that a file is made under before it becomes `name`.

    It follows from the name: what a killed run left is found, and taken away, by the next.
    """
    return _STAGED_PREFIX + b"%016x" % short_key(name)


def may_be_staged(name: bytes) -> bool:
    """Say whether a name looks as `staged_name` makes them."""
    return _STAGED.fullmatch(name) is not None


class HostWriter:
    """See the module. `root` is a descriptor of the directory and stays the caller's."""

    def __init__(
        self, root: int, complain: Complain, told: Callable[[int], None], *, set_id: bool = True
    ) -> None:
        self._root = root
        self._metadata = MetadataSetter(complain, set_id=set_id)
        self._complain = complain
        self._told = told
        self._is_root_user = os.geteuid() == 0
        self.opened_up: dict[bytes, int] = {}
        """Directories of this user's that had to be made writable, and their permissions."""

    # -- making ---------------------------------------------------------------------------------

    def make(self, path: bytes, view: TreeView, item: Item, place: Place) -> None:
        """Make the file at `path` as the view has it. EEXIST, ENOTEMPTY if `place` is not so."""
        with self._staging(path) as (parent, name, staged):
            self._make(parent, staged, path, view, item)
            self._land(parent, staged, name, place)

    def link(self, path: bytes, leader: bytes, place: Place) -> bool:
        """Make `path` a hard link to `leader`; False if the file system does not let."""
        source = open_beneath(self._root, leader, os.O_PATH)
        try:
            with self._staging(path) as (parent, name, staged):
                try:
                    # A magic link leads to the open file itself: nothing is resolved again.
                    os.link(_magic(source), staged, dst_dir_fd=parent, follow_symlinks=True)
                except OSError as error:
                    if error.errno in (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EACCES):
                        return False
                    raise
                self._land(parent, staged, name, place)
        finally:
            os.close(source)
        return True

    def make_directory(self, path: bytes, view: TreeView, item: Item, place: Place) -> None:
        """Make an empty directory with the view's attributes; of a file there, in its stead."""
        with self._staging(path) as (parent, name, staged):
            os.mkdir(staged, 0o700, dir_fd=parent)
            self._set_metadata_of(parent, staged, path, view, item.stat)
            if place is Place.FREE:
                rename_fresh(parent, staged, name)
            else:
                exchange(parent, staged, name)

    def _make(self, parent: int, staged: bytes, path: bytes, view: TreeView, item: Item) -> None:
        mode = item.stat.mode
        if stat_module.S_ISREG(mode):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(staged, flags, 0o600, dir_fd=parent)
            try:
                with view.open(path) as source:
                    copy_data(source, fd, item.stat.size, self._told)
                self._metadata.set(_magic(fd), path, item.stat, self._xattrs(path, view))
            finally:
                os.close(fd)
            return
        if stat_module.S_ISLNK(mode):
            os.symlink(view.readlink(path), staged, dir_fd=parent)
        elif stat_module.S_ISFIFO(mode):
            os.mkfifo(staged, 0o600, dir_fd=parent)
        else:
            raise fail(errno.EOPNOTSUPP, path)
        self._set_metadata_of(parent, staged, path, view, item.stat)

    def _land(self, parent: int, staged: bytes, name: bytes, place: Place) -> None:
        if place is Place.FREE:
            rename_fresh(parent, staged, name)
        elif place is Place.FILE:
            os.rename(staged, name, src_dir_fd=parent, dst_dir_fd=parent)
        else:
            exchange(parent, staged, name)
            try:
                os.rmdir(staged, dir_fd=parent)
            except OSError:
                exchange(parent, staged, name)
                raise

    # -- removing -------------------------------------------------------------------------------

    def remove(self, path: bytes, *, directory: bool) -> None:
        """Remove one file, or an empty directory."""
        with self._parent(path) as (parent, name):
            if directory:
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)

    def discard_staged(self, path: bytes) -> None:
        """Remove what a killed run left, if it is there."""
        with self._parent(path) as (parent, name):
            self._clear(parent, name)

    def _clear(self, parent: int, staged: bytes) -> None:
        try:
            found = os.stat(staged, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat_module.S_ISDIR(found.st_mode):
            os.rmdir(staged, dir_fd=parent)
        else:
            os.unlink(staged, dir_fd=parent)

    # -- attributes -----------------------------------------------------------------------------

    def lstat(self, path: bytes) -> os.stat_result:
        """Return what is at `path` now."""
        with self._parent(path) as (parent, name):
            return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def set_metadata(self, path: bytes, view: TreeView, stat: Stat) -> None:
        """Set owner, extended attributes, permissions and times of the file that is there."""
        with self._parent(path) as (parent, name):
            self._set_metadata_of(parent, name, path, view, stat)

    def set_time(self, path: bytes, stat: Stat) -> None:
        """Set the times alone."""
        with self._opened(path) as fd, self._metadata.permitted(path, "the time"):
            os.utime(_magic(fd), ns=(stat.atime_ns, stat.mtime_ns))

    def set_mode(self, path: bytes, mode: int) -> None:
        """Set the permissions alone."""
        with self._opened(path) as fd:
            os.chmod(_magic(fd), mode & PERMISSIONS)

    def _set_metadata_of(
        self, parent: int, name: bytes, path: bytes, view: TreeView, stat: Stat
    ) -> None:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._metadata.set(_magic(fd), path, stat, self._xattrs(path, view))
        finally:
            os.close(fd)

    def _xattrs(self, path: bytes, view: TreeView) -> dict[bytes, bytes]:
        """Return the attributes but for those that an overlay over the directory would obey."""
        wanted = dict(view.xattrs(path))
        for name in sorted(filter(is_mark, wanted)):
            del wanted[name]
            self._complain(path, f"the attribute {os.fsdecode(name)}")
        return wanted

    # -- reaching -------------------------------------------------------------------------------

    @contextmanager
    def _staging(self, path: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Give the directory, the name, and a free name beside it, which is free again after."""
        with self._parent(path) as (parent, name):
            staged = staged_name(name)
            self._clear(parent, staged)
            try:
                yield parent, name, staged
            finally:
                with suppress(OSError):
                    self._clear(parent, staged)

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        way, _, name = path.rpartition(b"/")
        fd = open_beneath(self._root, way, os.O_PATH | os.O_DIRECTORY)
        try:
            if not self._is_root_user and name:
                self._open_up(fd, way)
            yield fd, name or b"."
        finally:
            os.close(fd)

    @contextmanager
    def _opened(self, path: bytes) -> Iterator[int]:
        fd = open_beneath(self._root, path, os.O_PATH)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open_up(self, fd: int, path: bytes) -> None:
        """Let this user work in a directory of his own that is write-protected."""
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and found.st_mode & WHILE_WORKING != WHILE_WORKING:
            self.opened_up.setdefault(path, found.st_mode & PERMISSIONS)
            os.chmod(_magic(fd), (found.st_mode & PERMISSIONS) | WHILE_WORKING)


def _magic(fd: int) -> str:
    return f"/proc/self/fd/{fd}"
