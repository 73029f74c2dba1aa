"""Settling: what makes a snapshot durable, done after it is there, in the background.

Its layers get manifests and are written to disk (durable.py); then its record says that it is
settled. Killed at any instant, it leaves the snapshot as usable as before, and the next `vfsd gc`
does it again.

Meanwhile the snapshot may be removed, and then its layers go when this ends, or renamed, and is
settled under the new name.

What it is *not*: needed for a snapshot to be used in this boot of the machine; or the program
that does it in the background (background.py).

Concurrency: blocking calls; two that settle the same snapshot both do the work, and one's counts.
"""

from __future__ import annotations

from vfsd.snapshots.durable import settle_layers
from vfsd.snapshots.kept import DIR, Snapshot
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.locking import locked
from vfsd.snapshots.manifest import Told
from vfsd.snapshots.refusals import NotFound
from vfsd.snapshots.store import Store, snapshots


def settle(store: Store, name: str, *, accept: bool = False, told: Told | None = None) -> Snapshot:
    """Have the snapshot on disk, and return it as it is then. NotFound, Damaged, ENOSPC, EIO.

    `accept` takes one that the end of an earlier boot may have hurt as it is now.
    """
    snapshot = store.snapshot(name)
    while not snapshot.settled:
        with Lease(store, snapshot.name, accept=accept, named=False) as lease:
            snapshot = lease.snapshot
            settle_layers(store, [each.id for each in lease.layers if each.kind == DIR], told)
            with locked(store.place.lock, exclusive=True):
                store.replace_record(snapshot, snapshot._replace(settled=True))
        # Somebody may have changed it meanwhile; then what was done counts for nothing.
        snapshot = _now(store, snapshot)
    return snapshot


def _now(store: Store, snapshot: Snapshot) -> Snapshot:
    """Return the same snapshot as it is now, or the one that has its name. NotFound, Damaged."""
    try:
        return store.snapshot(snapshot.name)
    except NotFound:
        for each in snapshots(store):
            if isinstance(each, Snapshot) and each.id == snapshot.id:
                return each
        raise
