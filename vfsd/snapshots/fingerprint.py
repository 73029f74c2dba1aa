"""What a file of the base looked like when a snapshot of it was saved.

`vfsd apply` compares these with the host before it writes: what is neither as it was nor
already as the snapshot wants it was changed by somebody else, a *conflict*. A path without a
fingerprint was not there.

Taken for every path that the snapshot changes or removes, and for the directories above them.
A digest of the content is taken of files that are to be replaced, as long as that is cheap;
otherwise size, times and the inode's change time have to do.

What it is *not*: the comparison of two trees (changes.py), or the record that the fingerprints
are kept in (the store's).

Concurrency: immutable values; `take` reads both views in the caller's thread.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vfsd.digest import content_digest, content_hasher
from vfsd.snapshots.changes import Aspect, Change, compare, read_full
from vfsd.snapshots.view import Item, TreeView

DIGEST_FILE_BYTES_MAX = 4 << 20
"""Larger files get no digest: saving must not read what the run did not."""

DIGEST_ALL_BYTES_MAX = 256 << 20
"""What all digests of one snapshot may read."""

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


def take(base: TreeView, view: TreeView) -> dict[bytes, Fingerprint]:
    """Return the fingerprints that applying `view` onto `base` will have to check."""
    return take_for(base, compare(base, view))


def take_for(base: TreeView, changes: Iterable[Change]) -> dict[bytes, Fingerprint]:
    """Return the fingerprints for changes that are known already."""
    found: dict[bytes, Fingerprint] = {}
    room = DIGEST_ALL_BYTES_MAX
    for change in changes:
        for directory in _above(change.path):
            if directory in found:
                break
            try:
                found[directory] = _of(base.item(directory), b"")
            except (FileNotFoundError, NotADirectoryError):
                continue
        if change.old is None:
            continue
        digest = b""
        if stat_module.S_ISLNK(change.old.stat.mode):
            digest = content_digest(base.readlink(change.path))
        elif _is_replaced(change) and change.old.stat.size <= min(DIGEST_FILE_BYTES_MAX, room):
            room -= change.old.stat.size
            digest = digest_of(base, change.path)
        found[change.path] = _of(change.old, digest)
    return found


def digest_of(view: TreeView, path: bytes) -> bytes:
    """Return the digest of a regular file's data."""
    hasher = content_hasher()
    with view.open(path) as file:
        while data := read_full(file.read, _CHUNK_BYTES):
            hasher.update(data)
    return hasher.digest()


def to_record(fingerprints: Fingerprints) -> dict[bytes, list[int | bytes]]:
    """Return plain values, as vfsd.codec takes them."""
    return {path: list(fingerprint) for path, fingerprint in fingerprints.items()}


def from_record(record: object) -> dict[bytes, Fingerprint]:
    """Read what `to_record` made. ValueError if it is anything else."""
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


def _of(item: Item, digest: bytes) -> Fingerprint:
    stat = item.stat
    return Fingerprint(
        stat.mode,
        stat.nlink,
        stat.uid,
        stat.gid,
        stat.rdev,
        stat.size,
        stat.mtime_ns,
        stat.ctime_ns,
        digest,
    )


def _is_replaced(change: Change) -> bool:
    """Say whether content will be lost that a digest is worth reading for."""
    return (
        change.old is not None
        and stat_module.S_ISREG(change.old.stat.mode)
        and change.new is not None
        and bool(change.aspects & (Aspect.KIND | Aspect.CONTENT | Aspect.LINKS))
    )


def _above(path: bytes) -> Iterable[bytes]:
    while path:
        path, _, _ = path.rpartition(b"/")
        yield path
