"""Folding: several layers of a chain become one, so that no fork pays for how it came about.

The new layer is made of hard links (merging.py); the old ones stay for the other snapshots that
use them, and go with the last of those.

What it is *not*: the removal of layers (collection.py).

Concurrency: blocking calls, beside any number of forks and saves. Whoever folds a chain that
somebody else has changed meanwhile has folded in vain.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vfsd.snapshots import records
from vfsd.snapshots.durable import settle_staged
from vfsd.snapshots.kept import DIR, Layer
from vfsd.snapshots.kept import LAYERS_MAX as LAYERS_MAX
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.locking import locked
from vfsd.snapshots.merging import merge
from vfsd.snapshots.staging import Staging
from vfsd.snapshots.touched import seen_by
from vfsd.snapshots.unpacking import tree_of

if TYPE_CHECKING:
    from vfsd.snapshots.store import Store

LAYERS_SOON = 32
"""Deeper chains are folded in the background, long before a save would have to."""


@contextmanager
def folded(store: Store, layers: Sequence[Layer]) -> Iterator[Staging]:
    """Merge layers, top first, and yield the new one, staged. EACCES, ENOSPC, Damaged."""
    with store.stage() as staging:
        whole = layers[-1].whole
        trees = [tree_of(store, layer) for layer in layers]
        merge(trees, staging.part("tree"), whole=whole)
        seen = seen_by(store.place, [layer.id for layer in layers])
        if seen.touched:
            records.write(staging.part("fingerprints"), seen.to_record(), durable=False)
        new = Layer(staging.id, DIR, time.time_ns(), whole)
        records.write(staging.part("record"), new.to_record(), durable=False)
        yield staging


def fold_if_deep(store: Store, name: str) -> bool:
    """Fold a snapshot's chain if it is deep; say whether it was. EACCES, ENOSPC, Damaged."""
    if len(store.snapshot(name).chain) <= LAYERS_SOON:
        return False
    with Lease(store, name, named=False) as lease:
        return fold(store, lease)


def fold(store: Store, lease: Lease) -> bool:
    """Give the snapshot a chain of one layer; say whether it has it. EACCES, ENOSPC, Damaged.

    On disk before it counts, if the snapshot was.
    """
    old = lease.snapshot
    with folded(store, lease.layers) as staging:
        if old.settled:
            settle_staged(store.place, staging)
        with locked(store.place.lock, exclusive=True):
            staging.become_layer()
            records.sync_directory(store.place.layers)
            done = store.replace_record(old, old._replace(chain=(staging.id,)))
        if done:
            staging.release()
    return done
