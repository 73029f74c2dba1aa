"""Where copied files land on the host: only below one directory, whatever is in the way.

Every directory is opened one component at a time with O_NOFOLLOW from the descriptor of the
directory that was named, so neither a symlink that was there, nor one that the copy itself
made, nor one swapped in meanwhile leads out. Files are made under a temporary name and renamed,
which replaces a symlink instead of writing through it, and shows others a whole file or none.

Concurrency: blocking calls; one `Landing` belongs to one copy.

Sources: openat(2), symlink(7), rename(2).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat as stat_module
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from vfsd.control.replies import FileInfo
from vfsd.errors import fail

Parts = tuple[bytes, ...]
"""Names from the directory that was named down to a file, checked by vfsd.control.replies."""

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAKE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Landing:
    """A directory of the host, below which files are made."""

    def __init__(self, directory: bytes) -> None:
        """Open `directory`; symlinks on the way to it are the caller's own, and followed."""
        self._root = os.open(directory or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._current: tuple[Parts, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        os.close(self._root)

    def _leave(self) -> None:
        if self._current is not None:
            os.close(self._current[1])
            self._current = None

    def _directory(self, parts: Parts) -> int:
        """Return a descriptor of the directory; it stays this object's. ENOTDIR, ELOOP."""
        if not parts:
            return self._root
        if self._current is not None and self._current[0] == parts:
            return self._current[1]
        opened = self._root
        for name in parts:
            try:
                inner = os.open(name, OPEN_DIRECTORY, dir_fd=opened)
            finally:
                if opened != self._root:
                    os.close(opened)
            opened = inner
        self._leave()
        self._current = (parts, opened)
        return opened

    def make_directory(self, parts: Parts) -> None:
        """Make a directory that one can work in; one that is there is taken as it is."""
        above = self._directory(parts[:-1])
        try:
            os.mkdir(parts[-1], 0o700, dir_fd=above)
        except FileExistsError:
            found = os.stat(parts[-1], dir_fd=above, follow_symlinks=False)
            if not stat_module.S_ISDIR(found.st_mode):
                raise fail(errno.ENOTDIR, parts[-1]) from None

    def finish_directory(self, parts: Parts, info: FileInfo) -> None:
        """Give a directory its mode and times, once its content is there."""
        directory = self._directory(parts)
        os.fchmod(directory, _mode(info))
        os.utime(directory, ns=(info.stat.atime_ns, info.stat.mtime_ns))

    def start_file(self, parts: Parts) -> tuple[int, bytes]:
        """Open a new file beside its place for writing; return its fd and temporary name."""
        name = _temporary_name()
        return os.open(name, MAKE_FILE, 0o600, dir_fd=self._directory(parts[:-1])), name

    def finish_file(self, parts: Parts, temporary: bytes, opened: int, info: FileInfo) -> None:
        """Put a started file in its place, replacing what is there unless it is a directory."""
        os.fchmod(opened, _mode(info))
        os.utime(opened, ns=(info.stat.atime_ns, info.stat.mtime_ns))
        above = self._directory(parts[:-1])
        os.rename(temporary, parts[-1], src_dir_fd=above, dst_dir_fd=above)

    def drop_file(self, parts: Parts, temporary: bytes) -> None:
        """Remove a started file that is not to be finished."""
        with suppress(OSError):
            os.unlink(temporary, dir_fd=self._directory(parts[:-1]))

    def make_symlink(self, parts: Parts, target: bytes, info: FileInfo) -> None:
        """Make or replace a symlink."""
        self._install(parts, lambda name, above: os.symlink(target, name, dir_fd=above), info)

    def make_node(self, parts: Parts, info: FileInfo) -> None:
        """Make or replace a FIFO or a device. EPERM for a device without the privilege."""
        mode = stat_module.S_IFMT(info.stat.mode) | 0o600
        rdev = info.stat.rdev

        def make(name: bytes, above: int) -> None:
            os.mknod(name, mode, rdev, dir_fd=above)
            os.chmod(name, _mode(info), dir_fd=above)

        self._install(parts, make, info)

    def make_link(self, parts: Parts, source: Parts) -> None:
        """Give a file that landed already another name."""
        found = os.dup(self._directory(source[:-1]))
        try:

            def make(name: bytes, above: int) -> None:
                os.link(source[-1], name, src_dir_fd=found, dst_dir_fd=above, follow_symlinks=False)

            self._install(parts, make, None)
        finally:
            os.close(found)

    def _install(
        self, parts: Parts, make: Callable[[bytes, int], None], info: FileInfo | None
    ) -> None:
        above = self._directory(parts[:-1])
        temporary = _temporary_name()
        try:
            make(temporary, above)
            if info is not None:
                times = (info.stat.atime_ns, info.stat.mtime_ns)
                os.utime(temporary, ns=times, dir_fd=above, follow_symlinks=False)
            os.rename(temporary, parts[-1], src_dir_fd=above, dst_dir_fd=above)
        finally:
            # Also where it worked: renaming one name of a file to another leaves both.
            with suppress(OSError):
                os.unlink(temporary, dir_fd=above)


def _mode(info: FileInfo) -> int:
    """Return permission bits; setuid and setgid only where the file is the reader's own.

    The copy belongs to who copies: another's setuid bit would lend them his rights.
    """
    mode = stat_module.S_IMODE(info.stat.mode)
    return mode if info.stat.uid == os.geteuid() else mode & ~0o6000


def _temporary_name() -> bytes:
    return b".vfsd-" + secrets.token_hex(8).encode()
