"""What the author of a path provider writes: the methods by path, with their refusals.

A path is `bytes` relative to the root, without a leading slash; the root is ``b""``.

What it is *not*: the contract by nodes, which pathprovider.py builds on these.

Concurrency: as the contract says.
"""

from __future__ import annotations

import errno
from abc import abstractmethod
from collections.abc import Sequence

from vfsd.attributes import Caller, SetAttr, Stat
from vfsd.contract import Handle, Provider
from vfsd.errors import fail


class PathFiles(Provider):
    """The methods that end in `_path` raise `OSError` as that of `Provider` without the ending
    does. Those that change something are called only if `traits` says writable.
    """

    @abstractmethod
    async def stat(self, path: bytes) -> Stat:
        """Return the attributes of `path` (`lstat`). ENOENT, ENOTDIR."""

    @abstractmethod
    async def readdir_path(self, path: bytes) -> Sequence[bytes]:
        """Return all names in the directory. ENOENT, ENOTDIR."""

    @abstractmethod
    async def open_path(self, path: bytes, flags: int, caller: Caller) -> Handle:
        """Open the regular file `path`. ENOENT, EISDIR, EROFS."""

    async def readlink_path(self, path: bytes) -> bytes:
        """Return the target of the symlink `path`. EINVAL."""
        raise fail(errno.EINVAL, path)

    async def setattr_path(self, path: bytes, changes: SetAttr, caller: Caller) -> Stat:
        """Change attributes and return all of them."""
        raise fail(errno.EROFS, path)

    async def create_path(self, path: bytes, mode: int, flags: int, caller: Caller) -> Handle:
        """Make the regular file `path` and open it; it does not exist when called."""
        raise fail(errno.EROFS, path)

    async def setattr_unlinked(self, handle: Handle, changes: SetAttr, caller: Caller) -> Stat:
        """Change attributes of an open file that has no path any more, and return all.

        `handle` is one that `open_path`, `create_path` or `open_unlinked` gave, for writing if
        there is such a one. ESTALE where it cannot be done.
        """
        raise fail(errno.ESTALE)

    async def open_unlinked(self, handle: Handle, flags: int, caller: Caller) -> Handle:
        """Open the file of `handle`, which has no path any more, once more. ESTALE as above."""
        raise fail(errno.ESTALE)

    async def mkdir_path(self, path: bytes, mode: int, caller: Caller) -> None:
        """Make the directory `path`; it does not exist when called."""
        raise fail(errno.EROFS, path)

    async def symlink_path(self, path: bytes, target: bytes, caller: Caller) -> None:
        """Make the symlink `path`; it does not exist when called."""
        raise fail(errno.EROFS, path)

    async def unlink_path(self, path: bytes) -> None:
        """Remove what is not a directory."""
        raise fail(errno.EROFS, path)

    async def rmdir_path(self, path: bytes) -> None:
        """Remove an empty directory."""
        raise fail(errno.EROFS, path)

    async def rename_path(self, path: bytes, new_path: bytes, flags: int) -> None:
        """Rename, replacing what `rename(2)` allows."""
        raise fail(errno.EROFS, path)

    async def getxattr_path(self, path: bytes, name: bytes) -> bytes:
        """Return an extended attribute's value. ENODATA."""
        raise fail(errno.EOPNOTSUPP, path)

    async def listxattr_path(self, path: bytes) -> Sequence[bytes]:
        """Return the names of all extended attributes."""
        return ()

    async def setxattr_path(self, path: bytes, name: bytes, value: bytes) -> None:
        """Set an extended attribute. ENOSPC, E2BIG."""
        raise fail(errno.EOPNOTSUPP, path)

    async def removexattr_path(self, path: bytes, name: bytes) -> None:
        """Remove an extended attribute. ENODATA."""
        raise fail(errno.EOPNOTSUPP, path)
