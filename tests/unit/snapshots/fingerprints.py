"""Fingerprints of one tree before it becomes another; for layers the store takes them itself."""

from __future__ import annotations

import stat as stat_module

from vfsd.digest import content_digest
from vfsd.snapshots.changes import compare
from vfsd.snapshots.fingerprint import Fingerprint, digest_of
from vfsd.snapshots.view import Item, TreeView

DIGEST_FILE_BYTES_MAX = 1 << 16


def take(base: TreeView, view: TreeView) -> dict[bytes, Fingerprint]:
    """Return what `base` has at the paths where `view` differs, and at those above them."""
    found: dict[bytes, Fingerprint] = {}
    for change in compare(base, view):
        path = change.path
        while path:
            path = path.rpartition(b"/")[0]
            try:
                found.setdefault(path, _of(base.item(path), b""))
            except (FileNotFoundError, NotADirectoryError):
                continue
        if change.old is not None:
            digest = b""
            if stat_module.S_ISLNK(change.old.stat.mode):
                digest = content_digest(base.readlink(change.path))
            elif _is_small_file(change.old) and change.new is not None:
                digest = digest_of(base, change.path)
            found[change.path] = _of(change.old, digest)
    return found


def _of(item: Item, digest: bytes) -> Fingerprint:
    stat = item.stat
    return Fingerprint(
        *(stat.mode, stat.nlink, stat.uid, stat.gid, stat.rdev, stat.size),
        *(stat.mtime_ns, stat.ctime_ns, digest),
    )


def _is_small_file(item: Item) -> bool:
    return stat_module.S_ISREG(item.stat.mode) and item.stat.size <= DIGEST_FILE_BYTES_MAX
