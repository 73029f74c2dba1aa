"""Removing a tree of the store, whatever stands in it.

A layer holds what a command left: directories without permissions, whiteout devices, links to
anywhere, very deep trees. Nothing is followed; directories that the owner closed are opened
first; what is too deep is moved up and removed from there.

What it is *not*: the decision what may go (collection.py).

Concurrency: blocking calls. What has gone meanwhile is as good as removed.

Source: unlinkat(2); rename(2), which wants write permission on a directory that is moved.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

BLOCK_BYTES = 512
"""The unit of `st_blocks`."""

DEPTH_MAX = 48
"""Directories open at once; what lies deeper is moved next to the top and removed there."""


def remove_tree(path: str) -> int:
    """Remove a directory, or a file, with all that is in it; return the bytes that this freed.

    UserError names what resists.
    """
    freed = 0
    try:
        if not os.path.isdir(path) or os.path.islink(path):
            os.unlink(path)
            return 0
        removal = _Removal(path)
        try:
            removal.run()
            os.rmdir(path)
        finally:
            freed = removal.freed_bytes
    except FileNotFoundError:
        pass
    except PermissionError as error:
        name = os.fsdecode(error.filename or path)
        raise UserError(
            f"{name} cannot be removed: it belongs to another user (a run as root?);"
            " run the command as that user, or as root",
            ExitCode.DENIED,
        ) from error
    return freed


def tree_bytes(paths: Iterable[str]) -> int:
    """Return what removing all these trees would free: files with links elsewhere free nothing."""
    links: Counter[tuple[int, int]] = Counter()
    freed = 0
    todo = list(paths)
    while todo:
        path = todo.pop()
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                    freed += found.st_blocks * BLOCK_BYTES
                    continue
                links[found.st_dev, found.st_ino] += 1
                if links[found.st_dev, found.st_ino] == found.st_nlink:
                    freed += found.st_blocks * BLOCK_BYTES
    return freed


class _Removal:
    def __init__(self, root: str) -> None:
        self._root = root
        self._fd = -1
        self._moved = 0
        self.freed_bytes = 0
        self._unlike = os.urandom(8).hex()

    def run(self) -> None:
        """Empty the directory."""
        self._fd = _enter(None, self._root, self._root)
        try:
            seen = -1
            # Directories that were moved up from below stand in the root then.
            while seen != self._moved:
                seen = self._moved
                self._empty(self._fd, self._root, 0)
        finally:
            os.close(self._fd)

    def _empty(self, fd: int, path: str, depth: int) -> None:
        with os.scandir(fd) as entries:
            found = [(each.name, each.is_dir(follow_symlinks=False)) for each in entries]
        for name, is_directory in found:
            with suppress(FileNotFoundError):
                found_now = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if is_directory or found_now.st_nlink == 1:
                    self.freed_bytes += found_now.st_blocks * BLOCK_BYTES
                if is_directory:
                    self._directory(fd, name, f"{path}/{name}", depth)
                else:
                    self._unlink(fd, name, path)

    def _directory(self, fd: int, name: str, path: str, depth: int) -> None:
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM):
                raise
        else:
            return
        if depth >= DEPTH_MAX:
            os.close(_enter(fd, name, path))
            self._moved += 1
            aside = f"deep-{self._unlike}-{self._moved}"
            os.rename(name, aside, src_dir_fd=fd, dst_dir_fd=self._fd)
            return
        inner = _enter(fd, name, path)
        try:
            self._empty(inner, path, depth + 1)
        finally:
            os.close(inner)
        try:
            os.rmdir(name, dir_fd=fd)
        except PermissionError as error:
            raise PermissionError(error.errno, error.strerror, path) from error

    def _unlink(self, fd: int, name: str, path: str) -> None:
        try:
            os.unlink(name, dir_fd=fd)
        except PermissionError as error:
            raise PermissionError(error.errno, error.strerror, f"{path}/{name}") from error


def _enter(fd: int | None, name: str, path: str) -> int:
    """Open a directory for reading; its owner may have closed it to himself."""
    held = -1
    try:
        held = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        own = f"/proc/self/fd/{held}"
        found = os.stat(own)
        if found.st_mode & 0o700 != 0o700 and found.st_uid == os.geteuid():
            os.chmod(own, 0o700)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=held)
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, path) from error
    finally:
        if held >= 0:
            os.close(held)
