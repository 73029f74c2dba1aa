"""One kernel mount: mount it, serve it, end it.

pyfuse3 keeps its session in module globals: one `Session` per process.

Permissions: `default_permissions` lets the kernel check modes and owners, the sticky bit and
setgid included, so no handler needs to. As root the mount is open to other users, who are then
held by modes as on any file system; an ordinary user's mount is that user's alone unless
`allow_other` is asked for and /etc/fuse.conf permits it.

Concurrency: `serve` runs in the daemon's nursery; `terminate` may be called from any task.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyfuse3
import trio

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.fuse import servingloop
from vfsd.fuse.asking import ask
from vfsd.fuse.operations import Operations
from vfsd.fuse.readahead import read_further_ahead
from vfsd.fuse.shim import shim
from vfsd.handles import HandleTable
from vfsd.tree import Tree

WORKERS_MAX = 4096
"""Requests in the making at one time: a provider that hangs holds one for each caller that
waits for it, and must not use up those of the others. pyfuse3's own bound is 99."""


@contextmanager
def _overheard_stderr(said: list[str]) -> Iterator[None]:
    """Collect the lines that libfuse and fusermount3 write to fd 2 meanwhile."""
    kept, heard = os.dup(2), os.memfd_create("stderr")
    os.dup2(heard, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        with open(heard, "rb") as lines:
            lines.seek(0)
            said.extend(os.fsdecode(line).strip() for line in lines)


class Session:
    """The mount of a tree; made unmounted."""

    def __init__(
        self,
        tree: Tree,
        handles: HandleTable,
        mountpoint: str,
        *,
        xattrs: bool = True,
        allow_other: bool = False,
        read_only: bool = False,
    ) -> None:
        self._tree = tree
        self._mountpoint = mountpoint
        self._options = {"default_permissions", "fsname=vfsd", "subtype=vfsd"}
        if allow_other:
            self._options.add("allow_other")
        if read_only:
            self._options.add("ro")
        self.operations = Operations(tree, handles, xattrs=xattrs)
        self.invalidator = self.operations.door
        self._loop: servingloop.Installed | None = None
        self._mounted = False

    def mount(self, *, poll_us: int, hot: bool) -> None:
        """Mount, so that requests wait to be served.

        UserError, with their own words, if the kernel or fusermount3 refuses.
        """
        if hot and shim is not None:
            shim.enable()
        said: list[str] = []
        try:
            with _overheard_stderr(said):
                pyfuse3.init(self.operations, self._mountpoint, self._options)
        except RuntimeError as error:
            raise UserError(
                f"cannot mount at {self._mountpoint} ({'; '.join(said) or error}); "
                "'vfsd doctor' says what is missing",
                ExitCode.UNAVAILABLE,
            ) from None
        self._mounted = True
        if hot:
            prepare = None if shim is None else shim.prepare
            self._loop = servingloop.install(pyfuse3, poll_us=poll_us, prepare=prepare)

    async def serve(self) -> None:
        """Answer requests until unmounted from outside or `terminate`d."""
        self._tree.subscribe(self.invalidator)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.invalidator.run)
                await pyfuse3.main(max_tasks=WORKERS_MAX)
                nursery.cancel_scope.cancel()
        finally:
            self._tree.unsubscribe(self.invalidator)

    async def answers(self) -> None:
        """Return once a real request through the mount's own path was answered."""
        await ask(self._mountpoint)
        # Only now: the kernel sets its own value when it first hears from the daemon.
        read_further_ahead(self._mountpoint)

    def terminate(self) -> None:
        """Make `serve` return."""
        pyfuse3.terminate()

    def close(self) -> None:
        """Unmount if still mounted, and free the session; idempotent."""
        if not self._mounted:
            return
        self._mounted = False
        if self._loop is not None:
            self._loop.uninstall()
            self._loop = None
        pyfuse3.close(unmount=True)

    def statistics(self) -> Mapping[str, object]:
        """Return what the mount did so far."""
        return {
            **self.operations.statistics(),
            **self.invalidator.statistics(),
            "shim": "used" if shim is not None and shim.works else "not used",
            "blocks_given": 0 if shim is None else shim.blocks_given(),
            "serving_loop": "stock" if self._loop is None else dict(self._loop.statistics()),
        }
