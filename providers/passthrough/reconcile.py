"""What the host changed: from inotify's events to reports for the doors.

Level-triggered: an event only says where to look. What is found there is compared with what the
node table knows, so lost, folded and late events do no harm, and the provider's own changes,
which raise events like all others, are recognised by finding nothing new:

- the name still is the node it was: no report about the name;
- the file's ctime is what the provider's own last change left: no report about its data. This
  holds where ctime tells any two changes apart (`fine_ctime`); elsewhere every event counts. A
  host writer that closes is reported in any case.

A change through mmap raises no event before the file is closed, which is when the last map of it
goes; inotify has no more to offer. `Live.opened` notices some of them by mtime before that.

Concurrency: runs in the event loop, on local storage only; between two events others run.

Source: inotify(7), "Limitations and caveats".
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable

from providers.passthrough.held import HeldFd
from providers.passthrough.inotify import (
    CLOSE_WRITE,
    MOVE_SELF,
    OF_DATA,
    OF_NAMES,
    OVERFLOW,
    UNMOUNT,
    Event,
)
from providers.passthrough.look import look
from providers.passthrough.looking import Found
from providers.passthrough.nodes import HostNode, NodeTable
from vfsd.provider import Change

Report = Callable[[Change], None]


class Reconciler:
    """Compares the host with the node table, event by event."""

    def __init__(
        self,
        table: NodeTable,
        report: Report,
        directory: Callable[[HostNode], HeldFd],
        forget_directory: Callable[[HostNode], None],
        *,
        fine_ctime: bool,
    ) -> None:
        """`directory` opens one (OSError); `forget_directory` lets the fds below one go."""
        self._table = table
        self._report = report
        self._directory = directory
        self._forget_directory = forget_directory
        self._fine_ctime = fine_ctime
        self._touched: dict[int, HostNode] = {}
        """Directories in which names changed, whose own attributes did as well."""
        self.reports = 0

    def take(self, event: Event) -> None:
        """Look where the event points, and report what is new."""
        node, name, mask = event
        if mask & OVERFLOW or node is None:
            self._tell(Change())
        elif not name:
            self._itself(node, mask)
        else:
            self._named(node, name, mask)

    def finish(self) -> None:
        """Report the attributes of directories whose names changed, each once per reading."""
        touched, self._touched = self._touched, {}
        for node in touched.values():
            if not self._is_own(node):
                self._tell(Change(node, data=False))

    def _is_own(self, directory: HostNode) -> bool:
        """Say whether the directory is as the provider's own last change in it left it."""
        if not self._fine_ctime:
            return False
        try:
            stat = os.fstat(self._directory(directory).fd)
        except OSError:
            return False
        return stat.st_ctime_ns == directory.own_ctime_ns

    def _tell(self, change: Change) -> None:
        self.reports += 1
        self._report(change)

    def _itself(self, node: HostNode, mask: int) -> None:
        """The event is about the watched file or directory, not about a name in it."""
        if mask & (UNMOUNT | MOVE_SELF):
            self._forget_directory(node)
        if stat_module.S_ISDIR(node.kind):
            self._tell(Change(node, data=False))
        else:
            self._content(node, mask, self._found(node))

    def _found(self, node: HostNode) -> Found | None:
        if node.parent is None:
            return None
        try:
            found = look(self._directory(node.parent).fd, node.name, links=False)
        except OSError:
            return None
        return found if _is(node, found) else None

    def _named(self, directory: HostNode, name: bytes, mask: int) -> None:
        known = self._table.at(directory, name)
        try:
            held = self._directory(directory)
            found = look(held.fd, name, links=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
                self._absent(directory, name, known)
            else:
                self._tell(Change(directory, name))
            return
        if known is None or not _is(known, found):
            if known is not None:
                self._lost(directory, name, known)
            self._tell(Change(directory, name))
            return
        if mask & OF_NAMES:
            self._touched[directory.number] = directory
        self._content(known, mask, found)

    def _absent(self, directory: HostNode, name: bytes, known: HostNode | None) -> None:
        if known is None:
            # Unknown names have no entry to drop, but the directory's times changed.
            self._touched[directory.number] = directory
            return
        self._lost(directory, name, known)
        self._tell(Change(directory, name))

    def _lost(self, directory: HostNode, name: bytes, known: HostNode) -> None:
        self._table.left(directory, name)
        if stat_module.S_ISDIR(known.kind):
            self._forget_directory(known)
        self._tell(Change(known, data=False))

    def _content(self, node: HostNode, mask: int, found: Found | None) -> None:
        foreign_close = mask & CLOSE_WRITE and not node.closing
        if mask & CLOSE_WRITE:
            node.closing = 0
        node.data_mtime_ns = 0 if found is None else found.stat.mtime_ns
        own = (
            self._fine_ctime
            and found is not None
            and found.stat.ctime_ns == node.own_ctime_ns
            and not foreign_close
        )
        if not own and mask & OF_DATA:
            node.mapped = False
        if not own and mask & ~OF_NAMES:
            self._tell(Change(node, data=bool(mask & OF_DATA)))


def _is(node: HostNode, found: Found) -> bool:
    return (found.dev, found.ino) == node.key and found.mark == node.mark
