"""Unpack an archive into a directory of the host, and never outside of it.

Everything is made by a descriptor of the directory that it stands in and one name, with calls that
follow nothing: neither a symlink in the archive, nor one that somebody puts there meanwhile, leads
out. Directories are private until they are complete.

What cannot be made (a device, for an ordinary user) or read (damage) is told and left out; the rest
is made.

Concurrency: blocking calls in one thread.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from vfsd.archive.damage import Damage
from vfsd.archive.layout import DIRECTORY, REGULAR, ROOT_NODE, SYMLINK, Inode
from vfsd.archive.reader import stat_of
from vfsd.archive.tree import ArchiveTree, Found
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

OPEN_MAX = 64
"""Directories that are held open at a time; the way back to others is ``..``, checked."""
PIECE_BYTES = 1 << 20
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
A_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


class Left(NamedTuple):
    """Something that is not as the archive has it."""

    path: bytes
    what: str
    damaged: bool


@dataclass(slots=True)
class _Level:
    """A directory that is being filled."""

    path: bytes
    found: Found
    identity: tuple[int, int]
    names: Iterator[bytes]
    fd: int
    folders: list[tuple[bytes, Found]] = field(default_factory=list)


class Unpacker:
    """Unpacks one tree; `left` tells what could not be made."""

    def __init__(
        self,
        tree: ArchiveTree,
        *,
        owners: bool = True,
        told: Callable[[int, int], None] | None = None,
    ) -> None:
        """`owners` False: everything belongs to this process; `told` hears names and bytes."""
        self._tree = tree
        self._owners = owners and os.geteuid() == 0
        self._told = told
        self._firsts: dict[int, tuple[bytes, int, int]] = {}
        self._names = 0
        self._bytes = 0
        self._levels: list[_Level] = []
        self._root_fd = -1
        self.left: list[Left] = []

    def unpack(self, root_fd: int) -> None:
        """Fill the empty directory open as `root_fd`. OSError for a full disk; UserError."""
        self._root_fd = root_fd
        root = Found(ROOT_NODE, self._tree.inode(ROOT_NODE))
        self._enter(b"", root, os.dup(root_fd))
        try:
            while self._levels:
                level = self._levels[-1]
                if level.folders:
                    self._descend(level, *level.folders.pop())
                else:
                    self._leave()
        finally:
            for level in self._levels:
                if level.fd >= 0:
                    os.close(level.fd)

    def check_room(self, directory: str) -> None:
        """See that there is room before it starts: a small archive can describe a large tree.

        UserError if there is too little. OSError if there is no such directory.
        """
        needed = 0
        for number in range(ROOT_NODE, self._tree.count + 1):
            with suppress(Damage):
                inode = self._tree.inode(number)
                if inode.kind == REGULAR:
                    needed += min(inode.allocated, inode.size)
        room = os.statvfs(directory)
        free = room.f_bavail * room.f_frsize
        if needed > free:
            raise UserError(
                f"the files in it need {needed} bytes and there are {free}; make room, or attach "
                "it instead",
                ExitCode.FULL,
            )

    # -- directories ----------------------------------------------------------------------

    def _enter(self, path: bytes, found: Found, fd: int) -> None:
        """Make everything in a directory but what is in its own directories."""
        stat = os.fstat(fd)
        level = _Level(path, found, (stat.st_dev, stat.st_ino), iter(()), fd)
        self._levels.append(level)
        if len(self._levels) > OPEN_MAX:
            far = self._levels[-OPEN_MAX - 1]
            os.close(far.fd)
            far.fd = -1
        try:
            names = self._tree.names(*found)
        except Damage as damage:
            self._leave_out(path, str(damage), damaged=True)
            return
        for name in names:
            inner = path + b"/" + name if path else name
            try:
                each = self._tree.lookup(*found, name)
                assert each is not None, "the name was just listed"
                if each.inode.kind == DIRECTORY:
                    os.mkdir(name, 0o700, dir_fd=fd)
                    level.folders.append((name, each))
                else:
                    self._make(fd, name, inner, each)
            except Damage as damage:
                self._leave_out(inner, str(damage), damaged=True)
            except OSError as error:
                if error.errno in FATAL:
                    raise OSError(error.errno, error.strerror, os.fsdecode(inner)) from error
                self._leave_out(inner, os.strerror(error.errno or errno.EIO))
            self._names += 1
            if self._told is not None:
                self._told(self._names, self._bytes)

    def _descend(self, level: _Level, name: bytes, found: Found) -> None:
        fd = os.open(name, A_DIRECTORY, dir_fd=level.fd)
        self._enter(level.path + b"/" + name if level.path else name, found, fd)

    def _leave(self) -> None:
        """Complete the innermost directory, and go back to the one around it."""
        level = self._levels.pop()
        try:
            if self._levels and self._levels[-1].fd < 0:
                above = self._levels[-1]
                above.fd = os.open("..", A_DIRECTORY, dir_fd=level.fd)
                stat = os.fstat(above.fd)
                if (stat.st_dev, stat.st_ino) != above.identity:
                    raise UserError(
                        f"{os.fsdecode(level.path)} was moved while it was unpacked",
                        ExitCode.REFUSED,
                    )
            self._describe(level.fd, level.path, level.found.inode)
        finally:
            os.close(level.fd)

    # -- files ----------------------------------------------------------------------------

    def _make(self, parent: int, name: bytes, path: bytes, found: Found) -> None:
        inode = found.inode
        if inode.nlink > 1 and found.number in self._firsts:
            self._link(parent, name, *self._firsts[found.number])
            return
        if inode.kind == REGULAR:
            self._regular(parent, name, path, inode)
        elif inode.kind == SYMLINK:
            os.symlink(self._tree.target(inode), name, dir_fd=parent)
            self._describe_name(parent, name, path, inode)
        else:
            os.mknod(
                name, stat_module.S_IFMT(inode.mode) | 0o600, stat_of(inode).rdev, dir_fd=parent
            )
            self._describe_name(parent, name, path, inode)
        if inode.nlink > 1:
            stat = os.stat(name, dir_fd=parent, follow_symlinks=False)
            self._firsts[found.number] = path, stat.st_dev, stat.st_ino

    def _regular(self, parent: int, name: bytes, path: bytes, inode: Inode) -> None:
        content = self._tree.content(inode)
        fd = os.open(name, NEW_FILE, 0o600, dir_fd=parent)
        try:
            for extent in content.extents:
                offset, end = extent.offset, extent.offset + extent.length
                while offset < end:
                    data = memoryview(content.read(offset, min(PIECE_BYTES, end - offset)))
                    while data:
                        count = os.pwrite(fd, data, offset)
                        offset += count
                        self._bytes += count
                        data = data[count:]
            os.ftruncate(fd, content.size)
            self._describe(fd, path, inode)
        except (Damage, OSError):
            os.unlink(name, dir_fd=parent)
            raise
        finally:
            os.close(fd)

    def _link(self, parent: int, name: bytes, first: bytes, dev: int, ino: int) -> None:
        *way, last = first.split(b"/")
        held = os.dup(self._root_fd)
        try:
            for each in way:
                inner = os.open(each, A_DIRECTORY | os.O_PATH, dir_fd=held)
                os.close(held)
                held = inner
            stat = os.stat(last, dir_fd=held, follow_symlinks=False)
            if (stat.st_dev, stat.st_ino) != (dev, ino):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            os.link(last, name, src_dir_fd=held, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(held)

    # -- attributes -----------------------------------------------------------------------

    def _describe(self, fd: int, path: bytes, inode: Inode) -> None:
        """Give what is open as `fd` its attributes, in the order that keeps them."""
        mode = inode.mode & 0o7777
        if self._owners:
            os.fchown(fd, inode.uid, inode.gid)
        elif (inode.uid, inode.gid) != (os.geteuid(), os.getegid()):
            mode &= ~0o6000
        self._set_xattrs(fd, path, inode)
        os.fchmod(fd, mode)
        time_ns = stat_of(inode).mtime_ns
        with suppress(OverflowError):
            os.utime(fd, ns=(time_ns, time_ns))

    def _describe_name(self, parent: int, name: bytes, path: bytes, inode: Inode) -> None:
        """The same for what cannot be opened; nobody else may write into `parent` yet."""
        if self._owners:
            os.chown(name, inode.uid, inode.gid, dir_fd=parent, follow_symlinks=False)
        self._set_xattrs(b"/proc/self/fd/%d/%s" % (parent, name), path, inode)
        if inode.kind != SYMLINK:
            os.chmod(name, inode.mode & 0o7777, dir_fd=parent)
        time_ns = stat_of(inode).mtime_ns
        with suppress(OverflowError):
            os.utime(name, ns=(time_ns, time_ns), dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, target: int | bytes, path: bytes, inode: Inode) -> None:
        for name, value in self._tree.xattrs(inode).items():
            try:
                if isinstance(target, int):
                    os.setxattr(target, name, value)
                else:
                    os.setxattr(target, name, value, follow_symlinks=False)
            except OSError as error:
                if error.errno in FATAL:
                    raise
                what = f"the attribute {os.fsdecode(name)}: {error.strerror}"
                self._leave_out(path, what)

    def _leave_out(self, path: bytes, what: str, *, damaged: bool = False) -> None:
        self.left.append(Left(path, what, damaged))
