"""The contract: what a provider of files promises to whoever serves it.

Authors import it from vfsd/provider.py, together with what stands around it.

A **provider** is one file tree. Doors (the FUSE mount, the control socket, an overlay) call
the methods below; each carries a syscall's name and raises `OSError` with that syscall's
errno. Names and link targets are `bytes`; a name never holds ``/`` or NUL, is never empty,
``.`` or ``..``, and doors refuse names longer than `NAME_MAX` before they ask.

What this is *not*: where several trees are put together (vfsd/tree.py), who may do what (the
kernel checks modes: vfsd/fuse/session.py), or the kernel's inode numbers (vfsd/fuse/inodes.py).

**Nodes.** A `Node` is a provider's identity for a file. Two nodes with the same `number` are
the same file, even if they are two objects. `number` is at least 1 and below 2**48, is 1 for
the root and for nothing else, and is stable: as long as a file exists, each lookup gives the
same number, and a number is not given to another file while anyone can still hold the old
one. A node outlives its names: methods that take a node, `open` included, work on an unlinked
file while a `Handle` is open on it or a door keeps it (`kept`), and raise ESTALE once it is gone.

**Concurrency.** All methods run in one trio event loop. State changes between awaits only; a
method whose docstring says *atomic* is seen entirely or not at all by every other task, and
after a cancellation. A provider that can block on a disk or a network says so in its traits
and works in threads with a limiter of its own.

**Changes behind the doors.** Whoever changes a file through a door tells the tree about it;
a provider only calls `report` for changes that came from elsewhere (a host edit, a restore).

Sources: the manual page of the call each method is named after; path_resolution(7).
"""

from __future__ import annotations

import errno
import stat as stat_module
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import NamedTuple, Self

from vfsd.attributes import Caller, FileCopy, Identity, SetAttr, Stat, StatFs, Traits
from vfsd.errors import fail
from vfsd.filehandle import Handle as Handle

ROOT_NUMBER = 1
NUMBER_LIMIT = 1 << 48
"""Node numbers stay below this, so that a door can add which provider it was."""


class Node:
    """A provider's own identity for a file; providers may add fields of their own."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.number})"


class Entry(NamedTuple):
    """What a name stands for: the node and its attributes at that moment."""

    node: Node
    stat: Stat


class Change(NamedTuple):
    """Something changed that the doors' caches may still show as it was.

    `node` with `name`: the entry `name` in that directory was made, removed or replaced.
    `node` without `name`: the attributes of the file, and with `data` its content too.
    No `node`: anything may have changed.
    """

    node: Node | None = None
    name: bytes | None = None
    data: bool = True


Listener = Callable[[Change], None]
"""Called synchronously from the event loop; must neither block nor raise."""

Keeper = Callable[[int], bool]
"""Says whether a door keeps the node of a number; called synchronously, must be cheap."""

OpenSource = Callable[[str, Mapping[str, str]], Awaitable["Provider"]]
"""Finds and makes the provider that a source names, with its options; as a door would."""


class Provider(ABC):
    """One file tree. Subclass it, or `vfsd.pathprovider.PathProvider` to think in paths.

    Every method may raise EIO, and EROFS for any mutation when not writable, also where
    another error would apply to it. `caller` is who asks: new files belong to `caller.uid` and
    `caller.gid` (or to the parent's group below a setgid directory). Modes arrive with the
    umask applied. Permission bits are checked by the door, not here.
    """

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self._keepers: tuple[Keeper, ...] = ()

    # -- what it is -----------------------------------------------------------------------

    @classmethod
    def recognises(cls, source: str) -> bool:
        """Say whether `source`, an existing host path, is for this provider. May read it."""
        return False

    @classmethod
    async def from_options(cls, source: str | None, options: Mapping[str, str]) -> Self:
        """Make one from the command line or the configuration.

        `source` is a host path, address or None; `options` are `-o key=value` pairs. Raises
        `vfsd.errors.UserError` that names a wrong or missing one, or `OSError` for `source`.
        """
        raise fail(errno.EOPNOTSUPP, cls.__name__)

    @classmethod
    async def from_sources(
        cls, source: str | None, options: Mapping[str, str], open_source: OpenSource
    ) -> Self:
        """As `from_options`, for a provider that is put together from others.

        `options` may name sources, which `open_source` opens; they are this provider's then.
        """
        return await cls.from_options(source, options)

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What it can do now; `writable` may change over its life, the others may not."""

    @property
    @abstractmethod
    def root(self) -> Node:
        """The root directory's node; its number is `ROOT_NUMBER`."""

    def describe(self) -> str:
        """Return one line for `vfsd status`: what is served and from where."""
        return type(self).__name__

    def statistics(self) -> Mapping[str, int | float | str]:
        """Return counters and gauges for `vfsd status`; keys end in their unit."""
        return {}

    # -- life -----------------------------------------------------------------------------

    def attached(self, mountpoint: bytes | None, prefix: bytes) -> None:
        """Learn where it is seen: at `prefix` of the tree mounted at `mountpoint`, if it is."""

    async def watch(self) -> None:
        """Run while attached, `report`ing changes from elsewhere; may return at once."""

    async def aclose(self) -> None:
        """Free everything; called once, after the last handle is released."""

    def add_keeper(self, keeper: Keeper) -> None:
        """A door may keep nodes from now on; `keeper` tells which."""
        self._keepers = (*self._keepers, keeper)

    def remove_keeper(self, keeper: Keeper) -> None:
        """That door keeps no node any more; ValueError if there was none."""
        position = self._keepers.index(keeper)
        self._keepers = self._keepers[:position] + self._keepers[position + 1 :]

    def kept(self, number: int) -> bool:
        """Say whether a door keeps that node: what was found by name may yet be opened.

        To be asked where the last name goes away; the file is then freed by `forget`.
        """
        return any([keeper(number) for keeper in self._keepers])

    def forget(self, node: Node) -> None:
        """A door that kept `node` lets it go; other doors may still keep it (`kept`).

        Must be cheap and must not raise. A provider that holds something per node (an fd)
        ties it to the node object, of which it gives the same one while any is alive.
        """

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` for each reported change until `unsubscribe`."""
        self._listeners = (*self._listeners, listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Stop calling `listener`; ValueError if it is not subscribed."""
        position = self._listeners.index(listener)
        self._listeners = self._listeners[:position] + self._listeners[position + 1 :]

    def report(self, change: Change) -> None:
        """Tell the doors about a change that did not come through one of them."""
        for listener in self._listeners:
            listener(change)

    # -- looking --------------------------------------------------------------------------

    @abstractmethod
    async def lookup(self, parent: Node, name: bytes) -> Entry:
        """Return what `name` in `parent` stands for. ENOENT, ENOTDIR, ESTALE."""

    async def lookup_many(self, parent: Node, names: Sequence[bytes]) -> list[Entry | None]:
        """Return an entry per name, None where it is gone; one trip for a page of a listing."""
        entries: list[Entry | None] = []
        for name in names:
            try:
                entries.append(await self.lookup(parent, name))
            except FileNotFoundError:
                entries.append(None)
        return entries

    @abstractmethod
    async def getattr(self, node: Node) -> Stat:
        """Return the attributes (`lstat`). ESTALE if the file is gone."""

    @abstractmethod
    async def readdir(self, node: Node) -> Sequence[bytes]:
        """Return all names without ``.`` and ``..``, in an order stable without changes.

        The result is a snapshot that the caller may keep and that later changes do not alter.
        ENOTDIR, ESTALE.
        """

    async def readlink(self, node: Node) -> bytes:
        """Return a symlink's target, as stored. EINVAL if it is not a symlink."""
        raise fail(errno.EINVAL)

    @abstractmethod
    async def open(self, node: Node, flags: int, caller: Caller) -> Handle:
        """Open a regular file by the access mode, O_APPEND and O_TRUNC in `flags`.

        O_TRUNC empties it as `setattr(size=0)` does. EISDIR, EROFS for any flag that
        writes, ESTALE, ENXIO for what cannot be opened.
        """

    @abstractmethod
    async def statfs(self) -> StatFs:
        """Return the room there is, truthfully: `df` and `df -i` show it."""

    async def fsyncdir(self, node: Node, *, datasync: bool) -> None:
        """Return once the directory's entries are durable; only asked with the fsync trait."""

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        """Return an attribute's value. ENODATA; EOPNOTSUPP without the trait."""
        raise fail(errno.EOPNOTSUPP)

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        """Return the names of all extended attributes; none without the trait."""
        return ()

    async def explain(self, node: Node) -> Mapping[str, bytes]:
        """Return where a file comes from, by words of vfsd/provenance.py; no host path. ESTALE."""
        return {}

    # -- changing -------------------------------------------------------------------------

    async def setattr(self, node: Node, changes: SetAttr, caller: Caller) -> Stat:
        """Change attributes and return all of them, ctime included. Atomic.

        Changing the size sets mtime; an extended file reads as zeros. A change of owner or
        size clears setuid and setgid bits unless `mode` is set as well or, for size, the
        caller is root. EISDIR or EINVAL for the size of what has none; ENOSPC, EFBIG,
        ESTALE.
        """
        raise fail(errno.EROFS)

    async def create(
        self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Entry, Handle]:
        """Make and open a regular file; an existing one is opened unless O_EXCL is set. Atomic.

        `mode` holds permission bits. EEXIST, EISDIR, ENOSPC, ENOENT if `parent` was removed.
        """
        raise fail(errno.EROFS)

    async def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> Entry:
        """Make a file of the type in `mode` (regular, FIFO, socket, device). Atomic.

        EEXIST, ENOSPC, ENOENT if `parent` was removed, EPERM for an unsupported type.
        """
        raise fail(errno.EROFS)

    async def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        """Make a directory; below a setgid directory it is setgid too. Atomic.

        EEXIST, ENOSPC, EMLINK, ENOENT if `parent` was removed.
        """
        raise fail(errno.EROFS)

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        """Make a symlink, mode 0o777. Atomic. EEXIST, ENOSPC, ENAMETOOLONG, ENOENT."""
        raise fail(errno.EROFS)

    async def link(self, node: Node, parent: Node, name: bytes) -> Entry:
        """Give `node` another name. Atomic.

        EEXIST, EMLINK, EPERM for a directory or without the trait, ENOENT if `node` has no
        name left or `parent` was removed.
        """
        raise fail(errno.EROFS)

    async def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a name that is no directory, never following it. Atomic. ENOENT, EISDIR."""
        raise fail(errno.EROFS)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory. Atomic. ENOENT, ENOTDIR, ENOTEMPTY."""
        raise fail(errno.EROFS)

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        """Rename, replacing the target as `rename(2)` allows. Atomic.

        `flags` is 0, RENAME_NOREPLACE (1) or RENAME_EXCHANGE (2); anything else is EINVAL.
        Two names of one file: nothing happens. ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY,
        EINVAL when a directory would move into itself, EMLINK, ENOSPC.
        """
        raise fail(errno.EROFS)

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        """Set an extended attribute. Atomic. EOPNOTSUPP without the trait, ENOSPC, E2BIG."""
        raise fail(errno.EOPNOTSUPP)

    async def removexattr(self, node: Node, name: bytes) -> None:
        """Remove an extended attribute. Atomic. ENODATA; EOPNOTSUPP without the trait."""
        raise fail(errno.EOPNOTSUPP)

    async def put_copy(
        self, parent: Node, name: bytes, copy: FileCopy, spare: tuple[Node, bytes], *, sync: bool
    ) -> tuple[Entry, Handle] | None:
        """Put a whole file at a free name in one step, open to be written by root. Atomic.

        The directory's times stay. `spare` is a free name in another directory, for a provider
        that makes the file there first; `sync`: its data is to be durable before its name is.
        None: it was not done, and whoever wants it makes, fills and renames it step by step,
        which tells errors too.
        """
        return None

    async def put_whiteout(self, parent: Node, name: bytes) -> None:
        """Put a whiteout at a free name: a character device 0:0 of root's. Atomic. As `mknod`."""
        await self.mknod(parent, name, stat_module.S_IFCHR, 0, Identity(0, 0))

    async def clear(self, node: Node) -> None:
        """Remove all that is below a directory, which nobody else uses by now. Not atomic.

        What goes meanwhile is gone. ENOTDIR, ESTALE, EACCES.
        """
        waiting = [(node, name, False) for name in await self.readdir(node)]
        while waiting:
            parent, name, emptied = waiting.pop()
            with suppress(FileNotFoundError):
                if emptied:
                    await self.rmdir(parent, name)
                    continue
                try:
                    await self.unlink(parent, name)
                except IsADirectoryError:
                    below = (await self.lookup(parent, name)).node
                    waiting.append((parent, name, True))
                    waiting.extend((below, each, False) for each in await self.readdir(below))

    # -- versions -------------------------------------------------------------------------

    def snapshot(self) -> Provider:
        """Return this tree as it is now, sealed: read-only, unchanged by later writes.

        O(1) in the size of the tree, atomic. Files keep their numbers, which alone tell nodes of
        both apart. EOPNOTSUPP where it cannot be had, EBUSY (`pause`) while a change is half-way.
        """
        raise fail(errno.EOPNOTSUPP)

    def fork(self) -> Provider:
        """Return a writable tree that starts as this one is now, apart from it; as `snapshot`."""
        raise fail(errno.EOPNOTSUPP)

    def pause(self) -> AbstractAsyncContextManager[None]:
        """Keep changes waiting, so that `snapshot` and `fork` are not EBUSY."""
        return nullcontext()

    def unchanged(self, node: Node, other: Provider, other_node: Node) -> bool:
        """Say whether `node` is known to be the same in `other`, where it is `other_node`.

        The same are attributes, data and, for a directory, its names and the nodes they stand
        for, but not what changed in those. False only says that one has to look. Never suspends.
        """
        return False
