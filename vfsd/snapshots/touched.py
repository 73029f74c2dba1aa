"""The files of a base that a layer over it changes or removes, as they are when it is sealed.

`vfsd apply` compares them with the host: what somebody else changed since is a conflict. A path
that is not among them was not there. Each is the list of numbers

    mode, nlink, uid, gid, rdev, size, mtime_ns, ctime_ns, digest

where the digest, of a small file that the layer replaces or of a symlink's target, may be
empty. For a directory that is removed or replaced everything below it is told. What changed
since the layer was begun was never seen as the layer's maker saw it: its digest is `CHANGED`,
which no content has, so it conflicts.

Only what the base has is walked: a subtree that is new costs one look, whatever it holds.

What it is *not*: the comparison, or its meaning for each type of file (fingerprint.py).

Concurrency: blocking calls; the base may change meanwhile, and is told as it was seen.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from vfsd.digest import content_digest
from vfsd.snapshots import records
from vfsd.snapshots.layers import Layers
from vfsd.snapshots.place import Place
from vfsd.snapshots.refusals import Damaged
from vfsd.snapshots.view import Item, TreeView

CHANGED = b"changed meanwhile"
TICK_NS = 10_000_000
"""The kernel's clock for files lags behind by up to so much."""

DIGEST_FILE_BYTES_MAX = 1 << 16
DIGEST_FILES_MAX = 500
"""Saving must stay quick: past these, size and times have to do."""

Touched = dict[bytes, list[int | bytes]]


class Seen(NamedTuple):
    """What the base had, and the paths at and below which that is all it had.

    The latter are new paths, where it had nothing, and directories that were told whole.
    """

    touched: Touched
    closed: set[bytes]

    def to_record(self) -> dict[str, Any]:
        """Return what `fingerprints` holds."""
        return {"touched": self.touched, "closed": sorted(self.closed)}


def see(layer: TreeView, base: TreeView, since_ns: int | None = None) -> Seen:
    """Return what the base has at the paths that `layer`, which shows its marks, changes.

    `since_ns` is when the layer was begun, by the clock; None: the base has not changed since.
    """
    walk = _Walk(layer, base, since_ns)
    walk.run()
    return walk.seen


def seen_by(place: Place, chain: Sequence[str]) -> Seen:
    """Return what is kept for the layers of a chain, top first. Damaged.

    The base is told as the lowest layer found it: what came into it later, at a path that one
    had changed already, was not what the chain stands on.
    """
    found = Seen({}, set())
    for layer in reversed(chain):
        path = place.layer(layer, "fingerprints")
        with suppress(FileNotFoundError):
            later = _read(path)
            closed = {each for each in later.closed if not _is_told(each, found)}
            more = {
                each: entry
                for each, entry in later.touched.items()
                if each not in found.touched and not _is_told(each, found)
            }
            found.touched.update(more)
            found.closed.update(closed)
    return found


def _read(path: str) -> Seen:
    record = records.read(path)
    touched, closed = record.get("touched"), record.get("closed")
    if isinstance(touched, dict) and isinstance(closed, list):
        return Seen(touched, set(closed))
    raise Damaged(f"{path} is damaged: it holds no fingerprints")


def _is_told(path: bytes, seen: Seen) -> bool:
    """Say whether all that the base had at `path` is known, by what stands there or above."""
    while True:
        entry = seen.touched.get(path)
        if path in seen.closed or (entry is not None and not stat_module.S_ISDIR(int(entry[0]))):
            return True
        if not path:
            return False
        path = path.rpartition(b"/")[0]


class _Walk:
    def __init__(self, layer: TreeView, base: TreeView, since_ns: int | None) -> None:
        self._layers = Layers([layer])
        self._base = base
        self._earliest_ns = None if since_ns is None else since_ns - TICK_NS
        self._digests_left = DIGEST_FILES_MAX
        self.seen = Seen({}, set())
        self._found = self.seen.touched

    def run(self) -> None:
        """Walk the layer as far as the base goes."""
        root = self._layers.root()
        self._found[b""] = _told(self._base.item(b""), b"")
        todo = [(b"", root.levels)]
        while todo:
            path, levels = todo.pop()
            try:
                found = self._layers.scan(path, levels)
            except PermissionError:
                # Closed to us by its mode: any of what is below may be changed.
                self._all_below(path, self._base.item(path))
                continue
            for name, merged in found.items():
                inner = path + b"/" + name if path else name
                old = self._look(inner)
                if old is None:
                    self.seen.closed.add(inner)
                    continue
                both = merged.item is not None and _is_directory(merged.item) and _is_directory(old)
                if both and not merged.closed:
                    self._found[inner] = _told(old, b"")
                    todo.append((inner, merged.levels))
                elif _is_directory(old):
                    self._all_below(inner, old)
                else:
                    self._found[inner] = _told(old, self._digest(inner, old))

    def _look(self, path: bytes) -> Item | None:
        try:
            return self._base.item(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None

    def _all_below(self, path: bytes, directory: Item) -> None:
        self.seen.closed.add(path)
        self._found[path] = _told(directory, b"")
        todo = [path]
        while todo:
            here = todo.pop()
            # What was removed meanwhile, or is closed to us, cannot be told.
            with suppress(OSError):
                for name, item in self._base.scan(here).items():
                    inner = here + b"/" + name
                    self._found[inner] = _told(item, self._digest(inner, item, links_only=True))
                    if _is_directory(item):
                        todo.append(inner)

    def _digest(self, path: bytes, item: Item, *, links_only: bool = False) -> bytes:
        # By the inode's change time, which nobody sets.
        if self._earliest_ns is not None and item.stat.ctime_ns >= self._earliest_ns:
            return b"" if _is_directory(item) else CHANGED
        if links_only and not stat_module.S_ISLNK(item.stat.mode):
            return b""
        try:
            if stat_module.S_ISLNK(item.stat.mode):
                return content_digest(self._base.readlink(path))
            small = stat_module.S_ISREG(item.stat.mode) and item.stat.size <= DIGEST_FILE_BYTES_MAX
            if not small or self._digests_left <= 0:
                return b""
            self._digests_left -= 1
            with self._base.open(path) as file:
                data = file.read(DIGEST_FILE_BYTES_MAX + 1)
            return content_digest(data) if len(data) == item.stat.size else b""
        except OSError:
            # Unreadable, or changing under our eyes: what `stat` said has to do.
            return b""


def _is_directory(item: Item) -> bool:
    return stat_module.S_ISDIR(item.stat.mode)


def _told(item: Item, digest: bytes) -> list[int | bytes]:
    stat = item.stat
    return [
        stat.mode,
        stat.nlink,
        stat.uid,
        stat.gid,
        stat.rdev,
        stat.size,
        stat.mtime_ns,
        stat.ctime_ns,
        digest,
    ]
