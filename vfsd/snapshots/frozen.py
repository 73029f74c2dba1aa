"""A frozen tree of the daemon as a `TreeView`: what a thread reads that writes it to the store.

Each call makes one trip into the event loop, where the provider lives, and each trip is bounded:
a page of a listing, a piece of a file. So the loop stays free for everybody who uses the live
tree. A trip costs far more than what a provider in memory does in it; hence a directory comes
with the attributes and extended attributes of its files, and a small file with those that stand
after it in its directory.

What it is *not*: a view of a tree that changes; the provider must be sealed.

Concurrency: used by one thread, which trio started (`trio.to_thread.run_sync`). Where that task
is cancelled, the next call raises `trio.Cancelled` in the thread.
"""

from __future__ import annotations

import errno
import io
import os
import stat as stat_module
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import BinaryIO, NamedTuple, TypeVar

import trio

from vfsd.attributes import Identity
from vfsd.contract import Entry, Handle, Node, Provider
from vfsd.errors import fail
from vfsd.snapshots.view import Item
from vfsd.snapshots.view import KnowsHoles as KnowsHoles

PAGE_NAMES = 512
"""Names of a directory that are looked up before others get a turn."""
XATTRS_AHEAD_BYTES = 1 << 20
"""Extended attributes that come with a listing; those of further files are fetched one by one."""
AHEAD_BYTES = 1 << 20
AHEAD_FILES = 128
"""How much of the small files that follow one comes with it."""
SMALL_BYTES = 1 << 17
PIECE_BYTES = 1 << 20
"""What one trip brings of a larger file."""
DIRECTORIES_MAX = 4096
"""Directories whose nodes are remembered; others are walked to again."""

T = TypeVar("T")


class Listed(NamedTuple):
    """A directory, as it was listed: all its files, and the attributes of the first ones."""

    path: bytes
    entries: dict[bytes, Entry]
    xattrs: dict[bytes, dict[bytes, bytes]]
    order: list[bytes]
    """The names, sorted: the order in which their content is wanted."""


class FrozenView:
    """See the module."""

    def __init__(self, provider: Provider, root: Node | None = None) -> None:
        """Show all of `provider`, or what stands below its directory `root`."""
        self.provider = provider
        self._root = provider.root if root is None else root
        self._key = object()
        self._directories: dict[bytes, Node] = {b"": self._root}
        self._listed: Listed | None = None
        self._ahead: dict[bytes, bytes] = {}
        self._caller = Identity(os.geteuid(), os.getegid())

    def item(self, path: bytes) -> Item:
        """Return the file at `path` (`lstat`). ENOENT, ENOTDIR."""
        return self._item(self.entry(path))

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """Return the files in the directory `path`, by name. ENOENT, ENOTDIR."""
        return {name: self._item(entry) for name, entry in self.entries(path).items()}

    def readlink(self, path: bytes) -> bytes:
        """Return the symlink's target, as stored. EINVAL if it is none."""
        return self._await(self.provider.readlink, self.entry(path).node)

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """Return all extended attributes; in a layer's tree, its marks are among them."""
        if not self.provider.traits.xattrs:
            return {}
        above, _, name = path.rpartition(b"/")
        listed = self._listed
        if path and listed is not None and listed.path == above and name in listed.xattrs:
            return listed.xattrs[name]
        return self._await(self._fetch_xattrs, self.entry(path).node)

    def open(self, path: bytes) -> BinaryIO:
        """Open the regular file for reading; the caller closes it. EINVAL for another type."""
        entry = self.entry(path)
        if not stat_module.S_ISREG(entry.stat.mode):
            raise fail(errno.EINVAL, path)
        if entry.stat.size > SMALL_BYTES:
            return FrozenFile(self, entry)
        above, _, name = path.rpartition(b"/")
        listed = self._listed
        if listed is None or listed.path != above:
            return io.BytesIO(self._await(self._fetch, [(name, entry)])[name])
        data = self._ahead.pop(name, None)
        if data is None:
            self._ahead = self._await(self._fetch, _following(listed, name))
            data = self._ahead.pop(name)
        return io.BytesIO(data)

    # -- what a comparison of two versions needs ------------------------------------------------

    def entry(self, path: bytes) -> Entry:
        """Return node and attributes of the file at `path`. ENOENT, ENOTDIR."""
        if not path:
            return Entry(self._root, self._await(self.provider.getattr, self._root))
        above, _, name = path.rpartition(b"/")
        listed = self._listed
        if listed is not None and listed.path == above:
            if name not in listed.entries:
                raise fail(errno.ENOENT, path)
            return listed.entries[name]
        return self._await(self.provider.lookup, self._directory(above), name)

    def entries(self, path: bytes) -> dict[bytes, Entry]:
        """Return node and attributes of each file in the directory `path`. ENOENT, ENOTDIR."""
        listed = self._listed
        if listed is None or listed.path != path:
            listed = self._listed = self._await(self._list, path, self._directory(path))
            self._ahead = {}
            for name in listed.order:
                entry = listed.entries[name]
                if stat_module.S_ISDIR(entry.stat.mode):
                    self._remember(path + b"/" + name if path else name, entry.node)
        return listed.entries

    def unchanged(self, pairs: Iterable[tuple[Node, Node]], other: FrozenView) -> list[bool]:
        """Say of each pair, of a node here and one in `other`, whether they are the same."""

        async def ask() -> list[bool]:
            return [self.provider.unchanged(here, other.provider, there) for here, there in pairs]

        return self._await(ask)

    def identity(self, node: Node) -> Hashable:
        """Return what `Item.identity` is for a node."""
        return self._key, node.number

    def _item(self, entry: Entry) -> Item:
        return Item(entry.stat, self.identity(entry.node))

    # -- in the thread ------------------------------------------------------------------------

    def _await(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        return trio.from_thread.run(function, *arguments)

    def _directory(self, path: bytes) -> Node:
        # Up to the nearest one that is known, then down: paths may be very deep.
        names: list[bytes] = []
        above = path
        while above not in self._directories:
            above, _, name = above.rpartition(b"/")
            names.append(name)
        node = self._directories[above]
        while names:
            name = names.pop()
            node = self._await(self.provider.lookup, node, name).node
            above = above + b"/" + name if above else name
            self._remember(above, node)
        return node

    def _remember(self, path: bytes, node: Node) -> None:
        if len(self._directories) >= DIRECTORIES_MAX:
            self._directories.clear()
            self._directories[b""] = self._root
        self._directories[path] = node

    # -- in the event loop --------------------------------------------------------------------

    async def _list(self, path: bytes, node: Node) -> Listed:
        names = sorted(await self.provider.readdir(node))
        listed = Listed(path, {}, {}, [])
        room = XATTRS_AHEAD_BYTES if self.provider.traits.xattrs else 0
        for first in range(0, len(names), PAGE_NAMES):
            page = names[first : first + PAGE_NAMES]
            found = await self.provider.lookup_many(node, page)
            for name, entry in zip(page, found, strict=True):
                if entry is None:
                    continue
                listed.entries[name] = entry
                listed.order.append(name)
                if room > 0:
                    listed.xattrs[name] = xattrs = await self._fetch_xattrs(entry.node)
                    room -= sum(map(len, xattrs)) + sum(map(len, xattrs.values()))
            await trio.lowlevel.checkpoint()
        return listed

    async def _fetch_xattrs(self, node: Node) -> dict[bytes, bytes]:
        names = await self.provider.listxattr(node)
        return {name: await self.provider.getxattr(node, name) for name in names}

    async def _fetch(self, wanted: list[tuple[bytes, Entry]]) -> dict[bytes, bytes]:
        return {name: await self._fetch_one(entry) for name, entry in wanted}

    async def _fetch_one(self, entry: Entry) -> bytes:
        handle = await self.open_handle(entry.node)
        try:
            return await _read(handle, 0, entry.stat.size)
        finally:
            await release(handle)

    async def open_handle(self, node: Node) -> Handle:
        """Open a file for reading, in the event loop."""
        return await self.provider.open(node, os.O_RDONLY, self._caller)


class FrozenFile(io.BufferedIOBase, BinaryIO):
    """A larger file, read piece by piece; it can tell its holes (`KnowsHoles`)."""

    def __init__(self, view: FrozenView, entry: Entry) -> None:
        self._token = trio.from_thread.run_sync(trio.lowlevel.current_trio_token)
        self._handle = trio.from_thread.run(view.open_handle, entry.node)
        self._offset = 0
        self._size = entry.stat.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        self._offset = max(0, start + offset)
        return self._offset

    def read(self, size: int | None = -1) -> bytes:
        pieces = []
        left = self._size - self._offset
        left = left if size is None or size < 0 else min(size, left)
        while left > 0:
            wanted = min(left, PIECE_BYTES)
            piece = trio.from_thread.run(_read, self._handle, self._offset, wanted)
            pieces.append(piece)
            self._offset += len(piece)
            left = left - wanted if len(piece) == wanted else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def next_data(self, offset: int) -> int | None:
        """Return the first place from `offset` on that is in no hole, None if all is one."""
        if isinstance(self._handle, KnowsHoles):
            return trio.from_thread.run_sync(self._handle.next_data, offset)
        return offset if offset < self._size else None

    def close(self) -> None:
        if not self.closed:
            super().close()
            # With a token it is done even where the task that waits for the thread is cancelled.
            trio.from_thread.run(release, self._handle, trio_token=self._token)


async def _read(handle: Handle, offset: int, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end of the file."""
    pieces: list[bytes] = []
    while size:
        piece = bytes(await handle.read(offset, size))
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def release(handle: Handle) -> None:
    """Close a handle, also in a task that is cancelled."""
    with trio.CancelScope(shield=True):
        await handle.release()


def _following(listed: Listed, name: bytes) -> list[tuple[bytes, Entry]]:
    """Return `name` and the small files after it, as many as are worth one trip."""
    wanted: list[tuple[bytes, Entry]] = []
    room = AHEAD_BYTES
    first = listed.order.index(name)
    for each in listed.order[first : first + AHEAD_FILES]:
        entry = listed.entries[each]
        if not stat_module.S_ISREG(entry.stat.mode) or entry.stat.size > SMALL_BYTES:
            continue
        if wanted and entry.stat.size > room:
            break
        room -= entry.stat.size
        wanted.append((each, entry))
    return wanted
