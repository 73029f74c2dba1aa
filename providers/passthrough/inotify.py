"""inotify: which directories are watched, and what the kernel says about them.

A watch belongs to an inode and follows it through renames. It is held by its node and goes
away with it. Where the kernel has no watch left (`max_user_watches`) `add` raises ENOSPC.

What this is *not*: what an event means (reconcile.py).

Concurrency: used from the event loop only.

Source: inotify(7).
"""

from __future__ import annotations

import os
import stat as stat_module
import struct
from typing import NamedTuple
from weakref import WeakValueDictionary

from providers.passthrough.nodes import HostNode
from providers.passthrough.syscalls import inotify_add, inotify_init, inotify_remove

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
OVERFLOW = 0x4000
IGNORED = 0x8000

OF_NAMES = MOVED_FROM | MOVED_TO | CREATE | DELETE
OF_DATA = MODIFY | CLOSE_WRITE
WATCHED = OF_NAMES | OF_DATA | ATTRIB
WATCHED_FILE = OF_DATA | ATTRIB

_EVENT = struct.Struct("=iIII")
"""offset size field: 0 4 wd, 4 4 mask, 8 4 cookie, 12 4 len (struct inotify_event); the name
follows, padded with NUL to len."""

READ_SIZE = 1 << 16


class Event(NamedTuple):
    """Something happened to `name` in `node`, or to `node` itself if the name is empty."""

    node: HostNode | None
    name: bytes
    mask: int


class Watch:
    """One watch; it ends with the last reference to it."""

    __slots__ = ("_inotify", "_wd")

    def __init__(self, inotify: Inotify, wd: int) -> None:
        self._inotify = inotify
        self._wd = wd

    def __del__(self) -> None:
        self._inotify.remove(self._wd)


class Inotify:
    """One inotify instance."""

    def __init__(self) -> None:
        """EMFILE if this user has too many instances."""
        self.fd = inotify_init()
        self._nodes: WeakValueDictionary[int, HostNode] = WeakValueDictionary()
        self.events = 0
        self.overflows = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, node: HostNode, fd: int) -> None:
        """Watch the directory or file that `fd` leads to, as `node`. ENOSPC, EACCES."""
        mask = WATCHED if stat_module.S_ISDIR(node.kind) else WATCHED_FILE
        self.added(node, inotify_add(self.fd, fd, mask))

    def added(self, node: HostNode, wd: int) -> None:
        """Note that `wd` watches what `node` stands for."""
        self._nodes[wd] = node
        node.watch = Watch(self, wd)

    def remove(self, wd: int) -> None:
        """End a watch; after `close` there is none."""
        if self.fd >= 0 and wd not in self._nodes:
            inotify_remove(self.fd, wd)

    def read(self) -> list[Event]:
        """Return what happened since the last time, repetitions folded into one."""
        try:
            data = os.read(self.fd, READ_SIZE)
        except BlockingIOError:
            return []
        folded: dict[tuple[int, bytes], int] = {}
        offset = 0
        while offset < len(data):
            wd, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            folded[wd, name] = folded.get((wd, name), 0) | mask
            self.events += 1
        events: list[Event] = []
        for (wd, name), mask in folded.items():
            node = self._nodes.get(wd)
            if mask & OVERFLOW:
                self.overflows += 1
            if mask & IGNORED:
                self._nodes.pop(wd, None)
            if node is not None or mask & OVERFLOW:
                events.append(Event(node, name, mask))
        return events

    def close(self) -> None:
        """End all watches at once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
