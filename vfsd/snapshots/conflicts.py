"""What stands between a snapshot and the host directory it is to be applied to.

A path conflicts if the host's file is neither as it was when the snapshot was saved nor already
as the snapshot wants it. Each attribute is judged by itself, so an `apply` that was killed
half-way is gone on with and not mistaken for somebody's change.

What it is *not*: the reading of the trees (changes.py) or the writing (apply.py).

Concurrency: reads the host in the caller's thread.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from vfsd.snapshots.changes import PERMISSIONS, Aspect, Change, is_directory
from vfsd.snapshots.fingerprint import Fingerprint, Fingerprints, same_file
from vfsd.snapshots.view import Item, TreeView

WHILE_WORKING = 0o700
"""Permissions that apply gives a directory of its user's while it works in it."""


class Conflict(NamedTuple):
    """A path of the host that somebody changed, and what they did, as the end of a sentence."""

    path: bytes
    reason: str


def find(changes: Iterable[Change], taken: Fingerprints, host: TreeView) -> list[Conflict]:
    """Return the conflicts; the changes lead from the host as it is to the snapshot."""
    found = []
    for change in changes:
        reason = _reason(change, taken.get(change.path), host)
        if reason:
            found.append(Conflict(change.path, reason))
    return found


def without_conflicts(changes: Sequence[Change], conflicts: Iterable[Conflict]) -> list[Change]:
    """Return what can still be applied if the host's side of every conflict stays."""
    kept = {conflict.path for conflict in conflicts}
    by_path = {change.path: change for change in changes}
    for path in list(kept):
        _keep_way(path, by_path, kept)
    dropped: set[bytes] = set()
    rest = []
    for change in changes:
        if change.path in kept or _is_cut_off(change, by_path, dropped):
            dropped.add(change.path)
        else:
            rest.append(change)
    return _with_new_leaders(rest, dropped)


def _reason(change: Change, taken: Fingerprint | None, host: TreeView) -> str:
    if change.old is None:
        return "was removed on the host" if taken is not None else ""
    if taken is None:
        # Nobody knew it: it may be replaced or removed only if nothing is lost by that.
        lost = change.new is None or change.aspects & (Aspect.KIND | Aspect.CONTENT)
        return "appeared on the host" if lost else ""
    lost = change.new is None or change.aspects & (Aspect.KIND | Aspect.CONTENT)
    if lost and not same_file(taken, host, change.path, change.old):
        return "was changed on the host"
    if (change.new is None or Aspect.MODE in change.aspects) and not _same_mode(change.old, taken):
        return "has other permissions on the host"
    # Who is not root sets no owner, and his own files have his.
    if os.geteuid() == 0 and Aspect.OWNER in change.aspects and not _same_owner(change.old, taken):
        return "has another owner on the host"
    return ""


def _same_mode(item: Item, taken: Fingerprint) -> bool:
    now, then = item.stat.mode & PERMISSIONS, taken.mode & PERMISSIONS
    if stat_module.S_ISLNK(item.stat.mode) or now == then:
        return True
    return is_directory(item) and now == then | WHILE_WORKING


def _same_owner(item: Item, taken: Fingerprint) -> bool:
    return (item.stat.uid, item.stat.gid) == (taken.uid, taken.gid)


def _keep_way(path: bytes, by_path: dict[bytes, Change], kept: set[bytes]) -> None:
    """Keep the directories above what stays, which otherwise would be removed or replaced."""
    while path:
        path, _, _ = path.rpartition(b"/")
        change = by_path.get(path)
        if change is not None and is_directory(change.old) and not is_directory(change.new):
            kept.add(path)


def _is_cut_off(change: Change, by_path: dict[bytes, Change], dropped: set[bytes]) -> bool:
    """Say whether a directory above is not made, or not replaced, because the host's stays."""
    path = change.path
    while path:
        path, _, _ = path.rpartition(b"/")
        above = by_path.get(path)
        if above is None or path not in dropped:
            continue
        if is_directory(above.new) and not is_directory(above.old):
            return True
        if above.new is not None and not is_directory(above.new) and is_directory(above.old):
            return True
    return False


def _with_new_leaders(changes: list[Change], dropped: set[bytes]) -> list[Change]:
    """Let names that were to be links to a dropped one be links to the first that is not."""
    leaders: dict[bytes, bytes] = {}
    result = []
    for change in changes:
        if change.link_to is not None and change.link_to in dropped:
            leader = leaders.setdefault(change.link_to, change.path)
            change = replace(change, link_to=None if leader == change.path else leader)
        result.append(change)
    return result
