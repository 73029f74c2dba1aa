"""What an `apply` will write: everything, nothing, or what is left when the host's side wins.

Nothing is to be written as long as a single path conflicts (conflicts.py), unless the caller
chose a side.

What it is *not*: the writing (apply.py).

Concurrency: reads both trees in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from vfsd.snapshots.changes import Change, compare
from vfsd.snapshots.conflicts import Conflict, find, without_conflicts
from vfsd.snapshots.fingerprint import Fingerprints
from vfsd.snapshots.hostwriter import may_be_staged, staged_name
from vfsd.snapshots.view import TreeView


class Side(Enum):
    """Who wins where both changed a path."""

    NEITHER = "neither"
    OURS = "ours"
    THEIRS = "theirs"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write. `stale` was staged by an `apply` that was killed, and goes first."""

    changes: list[Change]
    conflicts: list[Conflict]
    stale: list[bytes]


def plan(
    host: TreeView,
    view: TreeView,
    taken: Fingerprints,
    side: Side,
    seen: Callable[[bytes], None] | None = None,
) -> Plan:
    """Compare the host with the view, and with what it was when `taken` was taken.

    With `Side.NEITHER` and a conflict there are no changes to write.
    """
    paths: list[bytes] = []

    def look(path: bytes) -> None:
        paths.append(path)
        if seen is not None:
            seen(path)

    everything = compare(host, view, look)
    stale = leftovers(paths)
    gone = set(stale)
    changes = [change for change in everything if change.path not in gone]
    if side is Side.OURS:
        return Plan(changes, [], stale)
    conflicts = find(changes, taken, host)
    if side is Side.THEIRS:
        changes = without_conflicts(changes, conflicts)
    elif conflicts:
        changes = []
    return Plan(changes, conflicts, stale)


def leftovers(seen: Iterable[bytes]) -> list[bytes]:
    """Return the paths that a killed `apply` staged, among all that a comparison saw.

    A name counts only beside the one that it was staged for.
    """
    found = []
    known: dict[bytes, set[bytes]] = {}
    for path in seen:
        parent, _, name = path.rpartition(b"/")
        if may_be_staged(name):
            found.append((parent, name, path))
        else:
            known.setdefault(parent, set()).add(name)
    return [
        path
        for parent, name, path in found
        if any(staged_name(other) == name for other in known.get(parent, ()))
    ]
