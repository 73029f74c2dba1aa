"""What a file of the base looked like when a snapshot of it was saved.

`vfsd apply` compares these with the host before it writes: what is neither as it was nor
already as the snapshot wants it was changed by somebody else, a *conflict*. A path without a
fingerprint was not there.

What it is *not*: how they are taken, when a layer is sealed (touched.py), or kept (store.py).

Concurrency: immutable values; `same_file` reads the view in the caller's thread.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Mapping
from typing import NamedTuple

from vfsd.digest import content_digest, content_hasher
from vfsd.snapshots.reading import read_full
from vfsd.snapshots.view import Item, TreeView

_CHUNK_BYTES = 1 << 18
_FIELDS = 9


class Fingerprint(NamedTuple):
    """One file of the base. `digest` is of its data or of its target, empty if not taken."""

    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    mtime_ns: int
    ctime_ns: int
    digest: bytes = b""


Fingerprints = Mapping[bytes, Fingerprint]
"""By path from the base's root, which itself is ``b""``."""


def digest_of(view: TreeView, path: bytes) -> bytes:
    """Return the digest of a regular file's data."""
    hasher = content_hasher()
    with view.open(path) as file:
        while data := read_full(file.read, _CHUNK_BYTES):
            hasher.update(data)
    return hasher.digest()


def from_record(record: object) -> dict[bytes, Fingerprint]:
    """Read what touched.py took. ValueError if it is anything else."""
    if not isinstance(record, dict):
        raise ValueError("the fingerprints are not a map")
    found = {}
    for path, fields in record.items():
        if (
            not isinstance(path, bytes)
            or not isinstance(fields, list)
            or len(fields) != _FIELDS
            or not all(isinstance(field, int) for field in fields[:-1])
            or not isinstance(fields[-1], bytes)
        ):
            raise ValueError("a fingerprint is malformed")
        found[path] = Fingerprint(*fields)
    return found


def same_file(taken: Fingerprint, view: TreeView, path: bytes, item: Item) -> bool:
    """Say whether the host's file has the type and the content that it had then.

    Of two files without digest that agree in size and time, the inode's change time decides,
    unless a hard link was made or removed: that changes it as well.
    """
    stat = item.stat
    if stat_module.S_IFMT(stat.mode) != stat_module.S_IFMT(taken.mode):
        return False
    if stat_module.S_ISLNK(stat.mode):
        return not taken.digest or content_digest(view.readlink(path)) == taken.digest
    if stat_module.S_ISCHR(stat.mode) or stat_module.S_ISBLK(stat.mode):
        return stat.rdev == taken.rdev
    if not stat_module.S_ISREG(stat.mode):
        return True
    if stat.size != taken.size:
        return False
    if taken.digest:
        return digest_of(view, path) == taken.digest
    if stat.mtime_ns != taken.mtime_ns:
        return False
    return stat.ctime_ns == taken.ctime_ns or stat.nlink != taken.nlink
