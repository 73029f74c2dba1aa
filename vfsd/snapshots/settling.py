"""Settling: what makes a snapshot durable, done after it is there, in the background.

Its layers get manifests and are written to disk (durable.py); then its record says that it is
settled. A chain that has grown deep is folded on the way (folding.py). Killed at any instant, it
leaves the snapshot as usable as before, and the next `vfsd gc` does it again.

Run as a program (``python -m vfsd.snapshots.settling STORE NAME``) it is what
`settle_in_background` starts.

What it is *not*: needed for a snapshot to be used in this boot of the machine.

Concurrency: blocking calls; two that settle the same snapshot both do the work, and one's counts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from vfsd.errors import UserError
from vfsd.snapshots.durable import settle_layers
from vfsd.snapshots.folding import LAYERS_SOON, fold
from vfsd.snapshots.kept import DIR, Snapshot
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.locking import locked
from vfsd.snapshots.manifest import Told
from vfsd.snapshots.store import Store


def settle(store: Store, name: str, *, accept: bool = False, told: Told | None = None) -> Snapshot:
    """Have the snapshot on disk, and return it as it is then. NotFound, Damaged, ENOSPC, EIO.

    `accept` takes one that the end of an earlier boot may have hurt as it is now.
    """
    snapshot = store.snapshot(name)
    while not is_settled(snapshot):
        with Lease(store, name, accept=accept) as lease:
            snapshot = lease.snapshot
            if len(snapshot.chain) > LAYERS_SOON:
                fold(store, lease)
            else:
                settle_layers(store, [each.id for each in lease.layers if each.kind == DIR], told)
                with locked(store.place.lock, exclusive=True):
                    store.replace_record(snapshot, replace(snapshot, settled=True))
        # Somebody may have changed it meanwhile; then what was done counts for nothing.
        snapshot = store.snapshot(name)
    return snapshot


def is_settled(snapshot: Snapshot) -> bool:
    """Say whether there is nothing left to be done for a snapshot."""
    return snapshot.settled and len(snapshot.chain) <= LAYERS_SOON


def main(arguments: Sequence[str]) -> int:
    """Settle one snapshot; nobody reads what this program says."""
    os.nice(10)
    root, name = arguments
    # What went wrong is still so when `vfsd gc` or `vfsd snapshot verify` comes by and tells it.
    with suppress(UserError, OSError):
        settle(Store(root), name)
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
