"""The tree: providers attached at prefixes, seen as one namespace.

The root provider is attached at ``b""``. Each further one stands on a directory of another
(its *attach point*), hides that directory's content, and is found by (directory number, name):
one dict look-up per name, and only in providers that have attach points at all.

Rules: an attach point and each directory on the way to it are EBUSY for unlink, rmdir and
rename (`leaving`); crossing attachments is EXDEV for rename and link (`check_same`,
also between two attachments of one provider, as with bind mounts); detaching one with open
handles or with others attached below is EBUSY unless lazy.

What it is *not*: who sees changes. Doors subscribe (`TreeListener`): every door that changes a
file calls `changed`, and `settled` returns once every listener caught up.

Concurrency: attach and detach hold `_lock`, since they await providers; all the rest changes
between awaits.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

import trio

from vfsd.attachment import (
    CACHE_BRIEFLY_S,
    CACHE_FOREVER_S,
    Attachment,
    Place,
    check_not_hidden,
    check_same,
)
from vfsd.attributes import NAME_MAX, Caller
from vfsd.contract import Change, Entry, Node, Provider
from vfsd.errors import fail
from vfsd.readonly import ReadOnlyView

__all__ = [
    "CACHE_BRIEFLY_S",
    "CACHE_FOREVER_S",
    "INDEX_LIMIT",
    "Attachment",
    "Place",
    "Tree",
    "TreeListener",
    "check_not_hidden",
    "check_same",
    "split_path",
]

INDEX_LIMIT = 1 << 15
"""Attachments over a daemon's life; the number is part of each inode number."""

UNMAKE_TIMEOUT_S = 5.0
"""Longest wait for a provider to take back what a failed attach made in it."""

SYMLINKS_MAX = 40
"""Symlinks followed in one resolution before ELOOP. Source: path_resolution(7)."""


class TreeListener(Protocol):
    """What a door that keeps copies of names or data (the FUSE mount) gives the tree."""

    def changed(self, attachment: Attachment, change: Change) -> None:
        """Note a change; must not block."""

    async def settled(self, attachments: Collection[Attachment]) -> None:
        """Return when what was noted so far about these is no longer shown as it was."""

    def keeps(self, attachment: Attachment, number: int) -> bool:
        """Say whether this door holds on to the node of that number."""


class Tree:
    """The namespace of one daemon."""

    def __init__(
        self, root: Provider, *, read_only: bool = False, mountpoint: bytes | None = None
    ) -> None:
        """Start with `root` at ``b""``; `mountpoint` tells which absolute links stay inside."""
        self._lock = trio.Lock()
        self._listeners: tuple[TreeListener, ...] = ()
        self._next_index = 1
        self.mountpoint = mountpoint
        self.lists_provenance = False
        """The mount lists virtual extended attributes as well (vfsd/provenance.py)."""
        view = ReadOnlyView(root) if read_only else root
        self.root = Attachment(b"", view, root, 0, read_only)
        self.attachments: dict[bytes, Attachment] = {b"": self.root}
        self._listen(self.root)

    # -- changes --------------------------------------------------------------------------

    def subscribe(self, listener: TreeListener) -> None:
        """Tell `listener` about every change from now on."""
        self._listeners = (*self._listeners, listener)

    def unsubscribe(self, listener: TreeListener) -> None:
        """Stop telling `listener`."""
        self._listeners = tuple(each for each in self._listeners if each is not listener)

    @property
    def overheard(self) -> bool:
        """True if more than one listener wants to hear of changes."""
        return len(self._listeners) > 1

    def changed(
        self, attachment: Attachment, change: Change, *, by: TreeListener | None = None
    ) -> None:
        """A door made `change` in `attachment`'s provider: tell all who keep copies.

        Each attachment of the same provider is told, since all of them show it; the listener
        `by` knows already about this one.
        """
        for listener in self._listeners:
            if listener is not by:
                listener.changed(attachment, change)
            for sibling in attachment.siblings:
                listener.changed(sibling, change)

    async def settled(self, *attachments: Attachment) -> None:
        """Return when all changes told so far in these show through every door.

        Others are not waited for: one whose provider hangs holds up its own changes only.
        """
        family = {each for one in attachments for each in (one, *one.siblings)}
        for listener in self._listeners:
            await listener.settled(family)

    def _listen(self, attachment: Attachment) -> None:
        def relay(change: Change) -> None:
            if change.node is None:
                attachment.weigh()
            for listener in self._listeners:
                listener.changed(attachment, change)

        def kept(number: int) -> bool:
            for listener in self._listeners:  # noqa: SIM110 - as in Provider.kept
                if listener.keeps(attachment, number):
                    return True
            return False

        attachment.relay, attachment.keeper = relay, kept
        attachment.base.subscribe(relay)
        attachment.base.add_keeper(kept)
        attachment.base.attached(self.mountpoint, attachment.prefix)

    # -- attaching ------------------------------------------------------------------------

    async def attach(
        self, prefix: bytes, provider: Provider, caller: Caller, *, read_only: bool = False
    ) -> Attachment:
        """Attach `provider` at `prefix`; missing directories on the way are made.

        EBUSY if something is attached there or below, or a directory on the way is about to be
        removed or renamed, ENOTDIR if a file stands in the way, EROFS or
        ENOENT if a directory is missing and cannot be made, EINVAL for the root or an odd
        prefix. `Attachment.hides` tells whether it covers existing files.
        """
        async with self._lock:
            names = split_path(prefix)
            if not names:
                raise fail(errno.EINVAL, prefix)
            if b"/".join(names) in self.attachments:
                raise fail(errno.EBUSY, prefix)
            host = self.root
            pins: list[tuple[int, bytes]] = []
            node = host.provider.root
            made: list[tuple[Node, bytes]] = []
            try:
                for position, name in enumerate(names):
                    is_last = position == len(names) - 1
                    inner = host.nested.get((node.number, name))
                    # One that stands below would be in the table, but out of anyone's reach.
                    if is_last and (inner is not None or (node.number, name) in host.pins):
                        raise fail(errno.EBUSY, prefix)
                    if inner is not None:
                        host.pins -= Counter(pins)
                        host, node, pins = inner, inner.provider.root, []
                        continue
                    if (node.number, name) in host.leaves:
                        raise fail(errno.EBUSY, name)
                    # Before it is looked at, so that nobody removes it meanwhile.
                    pins.append((node.number, name))
                    host.pins[node.number, name] += 1
                    entry = await self._directory(host, node, name, caller, made)
                    if not is_last:
                        node = entry.node
                hides = bool(await host.provider.readdir(entry.node))
                view = ReadOnlyView(provider) if read_only else provider
                attachment = Attachment(
                    b"/".join(names),
                    view,
                    provider,
                    self.take_index(),
                    read_only,
                    host=host,
                    host_node=node,
                    name=names[-1],
                    hides=hides,
                )
            except BaseException:
                host.pins -= Counter(pins)
                await self._unmake(host, made)
                raise
            self._pin(attachment, pins)
            self._relate(provider)
            self._listen(attachment)
            self.changed(host, Change(node, names[-1]))
        await self.settled(host)
        return attachment

    async def detach(self, prefix: bytes, *, lazy: bool = False) -> Attachment:
        """Detach what is attached at exactly `prefix` and return it; its provider stays open.

        EINVAL if nothing is attached there or it is the root; EBUSY if files in it are open
        or others are attached below, unless `lazy`, which detaches those below as well and
        leaves open files usable.
        """
        async with self._lock:
            attachment = self.attachments.get(b"/".join(split_path(prefix)))
            if attachment is None or attachment.host is None:
                raise fail(errno.EINVAL, prefix)
            below = [each for each in self.attachments.values() if _stands_below(each, attachment)]
            if not lazy and (below or attachment.open_count):
                raise fail(errno.EBUSY, prefix)
            for each in (*below, attachment):
                self._remove(each)
            assert attachment.host_node is not None
            self.changed(attachment.host, Change(attachment.host_node, attachment.name))
        await self.settled(attachment.host)
        return attachment

    async def _directory(
        self,
        host: Attachment,
        node: Node,
        name: bytes,
        caller: Caller,
        made: list[tuple[Node, bytes]],
    ) -> Entry:
        """Return the directory `name`; if it has to be made, `made` says so."""
        try:
            entry = await host.provider.lookup(node, name)
        except FileNotFoundError:
            entry = await host.provider.mkdir(node, name, 0o755, caller)
            made.append((node, name))
            self.changed(host, Change(node, name))
        if not stat_module.S_ISDIR(entry.stat.mode):
            raise fail(errno.ENOTDIR, name)
        return entry

    async def _unmake(self, host: Attachment, made: list[tuple[Node, bytes]]) -> None:
        """Take back the directories of an attach that failed, or was cancelled, half-way."""
        with trio.move_on_after(UNMAKE_TIMEOUT_S, shield=True):
            for node, name in reversed(made):
                with suppress(OSError):  # someone uses it already; it may stay
                    await host.provider.rmdir(node, name)
                    self.changed(host, Change(node, name))

    def take_index(self) -> int:
        """Return a number that no attachment of this tree has had. ENFILE."""
        if self._next_index >= INDEX_LIMIT:
            raise fail(errno.ENFILE)
        self._next_index += 1
        return self._next_index - 1

    def _pin(self, attachment: Attachment, pins: list[tuple[int, bytes]]) -> None:
        host, node = attachment.host, attachment.host_node
        assert host is not None
        assert node is not None
        host.nested[node.number, attachment.name] = attachment
        self.attachments[attachment.prefix] = attachment
        attachment.pins_on_host = tuple(pins)

    def _remove(self, attachment: Attachment) -> None:
        host, node = attachment.host, attachment.host_node
        assert host is not None
        assert node is not None
        del host.nested[node.number, attachment.name]
        del self.attachments[attachment.prefix]
        host.pins -= Counter(attachment.pins_on_host)
        if attachment.relay is not None:
            attachment.base.unsubscribe(attachment.relay)
            attachment.relay = None  # it holds the attachment; collections are rare
        attachment.attached = False
        if not attachment.open_count:
            attachment.drained.set()
        attachment.siblings = ()
        self._relate(attachment.base)

    def _relate(self, provider: Provider) -> None:
        family = [each for each in self.attachments.values() if each.base is provider]
        for each in family:
            each.siblings = tuple(other for other in family if other is not each)

    # -- finding --------------------------------------------------------------------------

    async def lookup(self, place: Place, name: bytes) -> tuple[Place, Entry]:
        """Return what `name` in the directory `place` stands for, across attach points."""
        attachment, node = place
        inner = attachment.nested.get((node.number, name)) if attachment.nested else None
        if inner is not None:
            root = inner.provider.root
            return Place(inner, root), Entry(root, await inner.provider.getattr(root))
        entry = await attachment.provider.lookup(node, name)
        return Place(attachment, entry.node), entry

    async def resolve(self, path: bytes, *, follow: bool = True) -> tuple[Place, Entry]:
        """Walk `path` from the root; the last symlink is followed only if `follow`.

        ENOENT, ENOTDIR, ELOOP after `SYMLINKS_MAX` links, EXDEV for a link that leads out of
        the tree, ENAMETOOLONG.
        """
        root = self.root.provider.root
        start = Place(self.root, root)
        walked: list[tuple[Place, Entry]] = [
            (start, Entry(root, await self.root.provider.getattr(root)))
        ]
        names = split_path(path, keep_dots=True)
        names.reverse()
        links = 0
        while names:
            name = names.pop()
            if name == b"..":
                if len(walked) > 1:
                    walked.pop()
                continue
            place, entry = walked[-1]
            if not stat_module.S_ISDIR(entry.stat.mode):
                raise fail(errno.ENOTDIR, path)
            found = await self.lookup(place, name)
            if stat_module.S_ISLNK(found[1].stat.mode) and (follow or names):
                links += 1
                if links > SYMLINKS_MAX:
                    raise fail(errno.ELOOP, path)
                target = await found[0].attachment.provider.readlink(found[0].node)
                if target.startswith(b"/"):
                    target = self._inside(target)
                    del walked[1:]
                names.extend(reversed(split_path(target, keep_dots=True)))
                continue
            walked.append(found)
        return walked[-1]

    async def resolve_parent(self, path: bytes) -> tuple[Place, bytes]:
        """Return the directory that holds `path`'s last name, and that name. As `resolve`."""
        names = split_path(path, keep_dots=True)
        if not names or names[-1] == b"..":
            raise fail(errno.EINVAL, path)
        place, entry = await self.resolve(b"/".join(names[:-1]))
        if not stat_module.S_ISDIR(entry.stat.mode):
            raise fail(errno.ENOTDIR, path)
        check_not_hidden(place, names[-1])
        return place, names[-1]

    def _inside(self, target: bytes) -> bytes:
        mountpoint = self.mountpoint
        if mountpoint is None:
            raise fail(errno.EXDEV, target)
        normal = os.path.normpath(target)
        if normal != mountpoint and not normal.startswith(mountpoint.rstrip(b"/") + b"/"):
            raise fail(errno.EXDEV, target)
        return normal[len(mountpoint) :]


def split_path(path: bytes, *, keep_dots: bool = False) -> list[bytes]:
    """Split a path into checked names; ``.`` and empty parts go, ``..`` only if `keep_dots`.

    EINVAL for NUL, or for ``..`` where it may not stand; ENAMETOOLONG.
    """
    if b"\0" in path:
        raise fail(errno.EINVAL)
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    for name in names:
        if len(name) > NAME_MAX:
            raise fail(errno.ENAMETOOLONG, name)
        if name == b".." and not keep_dots:
            raise fail(errno.EINVAL, path)
    return names


def _stands_below(attachment: Attachment, ancestor: Attachment) -> bool:
    host = attachment.host
    while host is not None:
        if host is ancestor:
            return True
        host = host.host
    return False
