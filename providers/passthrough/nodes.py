"""Which host file is which.

A file is known by device and inode number, and told from a later file with the same ones by
its *mark* (the file system's generation, see syscalls.py). Its node number is the host's inode
number where it can be: on the root's own device, below 2**47 and not 1. Others get numbers
above that: files on mounts inside the root by a small index of their device, the rest one
after the other, remembered.

A node holds no fd by its own. It knows its *places*, (directory, name) pairs where it was last
seen; whoever goes there compares what is found. While open, or removed but still kept by a
door, it also has fds (`HostNode.fds`), which lead to it without any name.

What this is *not*: access to the host. All here is memory.

Concurrency: changed from the event loop only, never across an await.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable
from typing import NamedTuple

from providers.passthrough.beneath import Key
from providers.passthrough.held import HeldFd
from providers.passthrough.looking import KIND, Found
from vfsd.errors import fail
from vfsd.provider import ROOT_NUMBER, Node
from vfsd.weaktable import WeakTable

DIRECTORY = stat_module.S_IFDIR
HOST_LIMIT = 1 << 47
"""Inode numbers of the host below this are node numbers as they are."""

DEVICE_BITS = 40
"""Files on another device than the root's: its index stands above this many bits of inode."""

DEVICES_MAX = 126

PLACES_MAX = 64
"""Names remembered of one file with several hard links."""

DEPTH_MAX = 8192
"""Directories on the way to one file; places that the host moved about could form a ring."""

MINTED_MAX = 1 << 20
"""Files with a number of their own making that are remembered after they were let go."""


class Identity(NamedTuple):
    """All that makes a file the one that was seen before."""

    dev: int
    ino: int
    kind: int
    mark: bytes


class HostNode(Node):
    """A file of the host; fields are written by `NodeTable` and the provider only."""

    __slots__ = (
        *("__weakref__", "closing", "dev", "fds", "gone", "ino", "kind", "mark", "more", "name"),
        *("data_mtime_ns", "mapped", "nlink", "own_ctime_ns", "parent", "slow", "target", "watch"),
    )

    def __init__(self, number: int, dev: int, ino: int, mark: bytes, kind: int) -> None:
        self.number = number
        self.dev = dev
        self.ino = ino
        self.mark = mark
        self.kind = kind
        """The file type bits of its mode."""
        self.parent: HostNode | None = None
        self.name = b""
        self.more: dict[tuple[int, bytes], HostNode] | None = None
        """Further places, by (directory's number, name)."""
        self.nlink = 1
        """Its link count when it was last looked at."""
        self.gone = False
        """It has no name left, as far as is known: its inode number may soon be another's."""
        self.fds: list[HeldFd] = []
        """Ways to it that need no name: of open handles, or since its last name went."""
        self.target: bytes | None = None
        """A symlink's, if it was read; it cannot change."""
        self.slow = False
        """It lies on storage that may block."""
        self.own_ctime_ns = 0
        """Its ctime after the last change that was made through the provider."""
        self.data_mtime_ns = 0
        """Its mtime when doors last had reason to take its data for known; 0: never."""
        self.mapped = False
        """The host changed it without an event, as through mmap, and did not close it since."""
        self.closing = 0
        """Writable handles of the provider's own that closed since the host last told."""
        self.watch: object | None = None

    @property
    def key(self) -> Key:
        return self.dev, self.ino

    @property
    def identity(self) -> Identity:
        return tuple.__new__(Identity, (self.dev, self.ino, self.kind, self.mark))

    @property
    def placed(self) -> bool:
        """A name of it is known (or it is the root)."""
        return self.parent is not None or self.number == ROOT_NUMBER


class NodeTable:
    """All nodes that somebody holds."""

    def __init__(self, root: os.stat_result, mark: bytes) -> None:
        self.root = HostNode(ROOT_NUMBER, root.st_dev, root.st_ino, mark, DIRECTORY)
        self._by_number: WeakTable[int, HostNode] = WeakTable()
        self._by_place: WeakTable[tuple[int, bytes], HostNode] = WeakTable()
        self._by_key: WeakTable[Key, HostNode] = WeakTable()
        """Only the root, and those whose number does not follow from the key."""
        self._devices: dict[int, int] = {}
        self._minted: dict[Key, tuple[bytes, int]] = {}
        self._next_minted = HOST_LIMIT + ((DEVICES_MAX + 1) << DEVICE_BITS)
        self.moved: Callable[[HostNode], None] = lambda directory: None
        """Called when a known directory was found, or put, at another place."""
        self._by_number[ROOT_NUMBER] = self._by_key[self.root.key] = self.root

    def __len__(self) -> int:
        return len(self._by_number)

    def at(self, parent: HostNode, name: bytes) -> HostNode | None:
        """Return the node that was last seen at that place, if somebody holds it."""
        return self._by_place.get((parent.number, name))

    def found(self, parent: HostNode, name: bytes, found: Found) -> HostNode:
        """Return the node of the file that was found at a place, and note that it is there."""
        dev, ino, stat, mark, _ = found
        kind = stat.mode & KIND
        free = natural = self._natural(dev, ino)
        known = None if natural is None else self._by_number.get(natural)
        if known is not None:
            free = None
            if not _is(known, dev, ino, mark, kind):
                known = None
        if known is None and (len(self._by_key) > 1 or ino == self.root.ino):
            known = self._by_key.get((dev, ino))
            if known is not None and not _is(known, dev, ino, mark, kind):
                known = None
        node = self._new(free, dev, ino, mark, kind) if known is None else known
        node.nlink = stat.nlink
        if known is None:
            place = (parent.number, name)
            if self._by_place.get(place) is not None:
                self.left(parent, name)
            node.parent, node.name = parent, name
            self._by_place[place] = node
        elif (node.parent is not parent or node.name != name) and node is not self.root:
            self.place(node, parent, name)
            if kind == DIRECTORY:
                self.moved(node)
        return node

    def _new(self, natural: int | None, dev: int, ino: int, mark: bytes, kind: int) -> HostNode:
        """Make the node of a file that nobody holds; `natural` is its number, if it is free."""
        number = natural
        if number is None or self._minted:
            number = self._number(natural, (dev, ino), mark)
        node = HostNode(number, dev, ino, mark, kind)
        self._by_number[number] = node
        if number != natural:
            self._by_key[dev, ino] = node
        return node

    def left(self, parent: HostNode, name: bytes) -> HostNode | None:
        """Note that the place is empty or another file's; return the node that was there."""
        node = self._by_place.pop((parent.number, name))
        if node is None:
            return None
        if node.more is not None:
            node.more.pop((parent.number, name), None)
        if node.parent is parent and node.name == name:
            node.parent, node.name = None, b""
            if node.more:
                (_, node.name), node.parent = node.more.popitem()
        return node

    def place(self, node: HostNode, parent: HostNode, name: bytes) -> None:
        """Note that the node is at a place: for a directory or a single link, the only one."""
        if node.parent is not None:
            place = (node.parent.number, node.name)
            if node.nlink > 1 and node.kind != stat_module.S_IFDIR:
                if node.more is None:
                    node.more = {}
                if len(node.more) < PLACES_MAX:
                    node.more[place] = node.parent
            elif self._by_place.get(place) is node:
                self._by_place.pop(place)
        if node.more is not None:
            node.more.pop((parent.number, name), None)
        node.parent, node.name = parent, name
        previous = self._by_place.get((parent.number, name))
        if previous is not None and previous is not node:
            self.left(parent, name)
        self._by_place[parent.number, name] = node

    def names_of(self, node: HostNode) -> list[bytes]:
        """Return the names that lead from the root to a directory. ESTALE if that is unknown."""
        names: list[bytes] = []
        while node is not self.root:
            if node.parent is None or len(names) > DEPTH_MAX:
                raise fail(errno.ESTALE)
            names.append(node.name)
            node = node.parent
        names.reverse()
        return names

    def is_below(self, number: int, top: HostNode) -> bool:
        """Say whether the node of that number is `top` or was last seen below it."""
        node = self._by_number.get(number)
        return node is not None and self.stands_below(node, top)

    def stands_below(self, node: HostNode | None, top: HostNode) -> bool:
        """Say whether `node` is `top` or was last seen below it."""
        for _ in range(DEPTH_MAX):
            if node is None or node is top:
                return node is top
            node = node.parent
        return False

    def _number(self, natural: int | None, key: Key, mark: bytes) -> int:
        minted = self._minted.get(key)
        if minted is not None and minted[0] == mark and minted[1] not in self._by_number:
            return minted[1]
        number = natural
        if number is None:
            number = self._next_minted
            self._next_minted += 1
            if len(self._minted) >= MINTED_MAX:
                del self._minted[next(iter(self._minted))]
            self._minted[key] = (mark, number)
        return number

    def _natural(self, dev: int, ino: int) -> int | None:
        """Return the number that follows from the inode number alone, if there is one."""
        if dev == self.root.dev:
            return ino if ROOT_NUMBER < ino < HOST_LIMIT else None
        index = self._devices.setdefault(dev, len(self._devices))
        if index >= DEVICES_MAX or ino >= 1 << DEVICE_BITS:
            return None
        return HOST_LIMIT + (index << DEVICE_BITS) + ino


def _is(node: HostNode, dev: int, ino: int, mark: bytes, kind: int) -> bool:
    return (
        node.ino == ino
        and node.mark == mark
        and node.kind == kind
        and node.dev == dev
        and not node.gone
    )
