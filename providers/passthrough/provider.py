"""The passthrough provider: the contract on a real directory.

The methods stand in names.py and files.py, what they work with in host.py; here is how one is
made and what it says of itself.

What this is *not*: read-only attachments (vfsd/readonly.py), permission checks (the kernel's,
by the modes given here), inode numbers (vfsd/fuse/inodes.py).

Concurrency: as host.py.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Self

import trio

from providers.passthrough.beneath import open_root
from providers.passthrough.files import FileMethods
from providers.passthrough.held import HeldFd
from providers.passthrough.names import NameMethods
from providers.passthrough.nodes import HostNode
from providers.passthrough.options import parse_options
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.provider import ROOT_NUMBER, Node, Traits


class PassthroughProvider(NameMethods, FileMethods):
    """See the module; make one with `from_options`."""

    @classmethod
    def recognises(cls, source: str) -> bool:
        return os.path.isdir(source)

    @classmethod
    async def from_options(cls, source: str | None, options: Mapping[str, str]) -> Self:
        """Serve the directory `source`; options are those of options.py."""
        if not source:
            raise UserError(
                "the passthrough provider needs a directory; give its path, or "
                "passthrough:DIRECTORY",
                ExitCode.USAGE,
            )
        parsed = await trio.to_thread.run_sync(parse_options, options, abandon_on_cancel=True)
        root = await trio.to_thread.run_sync(_open_source, source, abandon_on_cancel=True)
        return await trio.to_thread.run_sync(cls, source, root, parsed, abandon_on_cancel=True)

    @property
    def traits(self) -> Traits:
        return Traits(
            watch=self._live.watching,
            hard_links=True,
            xattrs=self._xattrs,
            may_block=True,
            fsync=True,
        )

    def describe(self) -> str:
        return f"passthrough {self.source}"

    def statistics(self) -> Mapping[str, int | float | str]:
        return {
            "links": self._options.links.policy,
            "guard": self._guard,
            "looks": "one by one" if self._library is None else "by the directory",
            "calls": "threads" if self._access.slow else "event loop",
            "nodes": len(self._table),
            "directory_fds": len(self._access.fds),
            "limit_directory_fds": self._access.fds.limit,
            "removed_files": len(self._orphans),
            **self._live.statistics(),
        }

    async def explain(self, node: Node) -> Mapping[str, bytes]:
        """Return the file's path below the root, where it was last seen: from memory alone."""
        assert isinstance(node, HostNode)
        if node.parent is None:
            return {"origin": b"."} if node.number == ROOT_NUMBER else {}
        return {"origin": b"/".join([*self._table.names_of(node.parent), node.name])}


def _open_source(source: str) -> HeldFd:
    try:
        return open_root(source)
    except OSError as error:
        raise _refused(source, error) from error


def _refused(source: str, error: OSError) -> UserError:
    """Return what to say about a source that cannot be served."""
    if error.errno == errno.ENOENT:
        return UserError(f"{source} does not exist; give an existing directory", ExitCode.NOT_FOUND)
    if error.errno == errno.ENOTDIR:
        return UserError(f"{source} is not a directory; give one", ExitCode.USAGE)
    if error.errno in (errno.EACCES, errno.EPERM):
        return UserError(
            f"{source} cannot be listed or searched; run the daemon as a user who may, or give "
            "that user the permission",
            ExitCode.DENIED,
        )
    return UserError(f"{source}: {error.strerror}; give a directory that works", ExitCode.FAILED)
