"""Setting a file's owner, extended attributes, permissions and times, as far as that is permitted.

A file is reached through a descriptor of its own (its number where the file is open, or
`/proc/self/fd/N` where it is only a place), so nothing is followed and nothing is resolved
again. What this user or this file system cannot do is told and passed over.

What it is *not*: the finding of the file (hostwriter.py, unpack.py).

Concurrency: blocking calls in the caller's thread.

Sources: proc(5) on /proc/self/fd; chown(2) on set-id bits; xattr(7).
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from vfsd.attributes import Stat
from vfsd.snapshots.changes import PERMISSIONS

_NO_XATTRS = (errno.EOPNOTSUPP, errno.ENOSYS)
_NOT_OURS = frozenset({b"security.selinux"})
"""Attributes that the system gives, each in its own place."""

_SET_ID = {stat_module.S_ISUID: "the set-user-ID bit", stat_module.S_ISGID: "the set-group-ID bit"}
_CAPABILITIES = b"security.capability"

Complain = Callable[[bytes, str], None]
"""Told the path and what of its metadata could not be set."""


class MetadataSetter:
    """See the module."""

    def __init__(self, complain: Complain, *, set_id: bool = True) -> None:
        """Without `set_id` no file gets what would lend its owner's rights to who runs it."""
        self._complain = complain
        self._set_id = set_id

    def set(
        self, reached: str | int, path: bytes, stat: Stat, xattrs: Mapping[bytes, bytes]
    ) -> None:
        """Make the file at `reached` have these; `path` is what it is called in complaints."""
        now = os.stat(reached)
        mode = now.st_mode
        other_owner = (now.st_uid, now.st_gid) != (stat.uid, stat.gid)
        if other_owner:
            with self.permitted(path, f"the owner {stat.uid}:{stat.gid}"):
                os.chown(reached, stat.uid, stat.gid)
        # After the owner: a change of owner takes capabilities and set-id bits away.
        wanted = stat.mode & PERMISSIONS
        if not self._set_id and stat_module.S_ISREG(now.st_mode):
            wanted, xattrs = self._lending_nothing(path, wanted, xattrs)
        self._set_xattrs(reached, path, xattrs)
        if not stat_module.S_ISLNK(now.st_mode):
            if other_owner or xattrs:
                mode = os.stat(reached).st_mode  # they may have changed it
            if mode & PERMISSIONS != wanted:
                with self.permitted(path, f"the permissions {wanted:04o}"):
                    os.chmod(reached, wanted)
        if now.st_mtime_ns != stat.mtime_ns:
            with self.permitted(path, "the time"):
                os.utime(reached, ns=(stat.atime_ns, stat.mtime_ns))

    def _lending_nothing(
        self, path: bytes, mode: int, xattrs: Mapping[bytes, bytes]
    ) -> tuple[int, Mapping[bytes, bytes]]:
        for bit, what in _SET_ID.items():
            if mode & bit:
                self._complain(path, what)
        if _CAPABILITIES in xattrs:
            self._complain(path, "its capabilities")
        kept = {name: value for name, value in xattrs.items() if name != _CAPABILITIES}
        return mode & ~sum(_SET_ID), kept

    def _set_xattrs(self, reached: str | int, path: bytes, wanted: Mapping[bytes, bytes]) -> None:
        try:
            there = {os.fsencode(name) for name in os.listxattr(reached)}
        except OSError as error:
            if error.errno not in _NO_XATTRS:
                raise
            there = set()
        for name in there - wanted.keys() - _NOT_OURS:
            with self.permitted(path, f"to be without the attribute {os.fsdecode(name)}"):
                os.removexattr(reached, name)
        for name in sorted(wanted.keys() - _NOT_OURS):
            if name in there and os.getxattr(reached, name) == wanted[name]:
                continue
            with self.permitted(path, f"the attribute {os.fsdecode(name)}"):
                os.setxattr(reached, name, wanted[name])

    @contextmanager
    def permitted(self, path: bytes, what: str) -> Iterator[None]:
        """Let what this user or file system cannot do pass, and tell."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            self._complain(path, what)
