"""Having layers on disk, with the manifests that find damage.

A layer's manifest gets its name after everything that it tells about is on disk: a layer that has
one survives the end of power.

What it is *not*: when this is done (settling.py).

Concurrency: blocking calls.

Source: syncfs(2), which reports what could not be written since Linux 5.8.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfsd.snapshots import records
from vfsd.snapshots.manifest import Told, write_manifest
from vfsd.snapshots.place import Place
from vfsd.snapshots.staging import Staging
from vfsd.snapshots.syscalls import syncfs

if TYPE_CHECKING:
    from vfsd.snapshots.store import Store


def settle_layers(store: Store, layers: Sequence[str], told: Told | None = None) -> None:
    """Have layers on disk, and give manifests to those that have none. EIO, ENOSPC."""
    waiting = [layer for layer in layers if not store.is_settled(layer)]
    if not waiting:
        return
    with store.stage() as staging:
        for layer in waiting:
            write_manifest(store.place.layer(layer, "tree"), staging.part(layer), told)
        sync(store.place)
        for layer in waiting:
            os.rename(staging.part(layer), store.place.layer(layer, "manifest"))
            records.sync_directory(store.place.layer(layer))


def settle_staged(place: Place, staging: Staging) -> None:
    """Have a layer that is not yet one on disk, with its manifest. EIO, ENOSPC."""
    write_manifest(staging.part("tree"), staging.part("manifest"))
    sync(place)


def sync(place: Place) -> None:
    """Have everything of the store's file system on disk. EIO, ENOSPC."""
    fd = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)
