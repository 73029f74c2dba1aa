"""Sealing: what was made becomes a layer of the store, and a snapshot that stands on it.

The layer moves into a staging directory, that into the store, and the snapshot's name is
published last: a process killed at any instant, or a full disk, leaves a whole snapshot or none.

What it is *not*: the store itself (store.py), which runs that keep nothing need as well.

Concurrency: blocking calls. Any number of processes and threads may seal at once; see place.py
for the locks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from vfsd.snapshots import records
from vfsd.snapshots.adoption import adopt_directory, adopt_file, give_back
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.kept import DIR, LAYERS_MAX, PACKED, Layer, Snapshot
from vfsd.snapshots.locking import locked
from vfsd.snapshots.names import check_name
from vfsd.snapshots.refusals import Damaged, NameTaken, NotFound, refused_when_full
from vfsd.snapshots.staging import Staging
from vfsd.snapshots.syscalls import rename_new
from vfsd.snapshots.touched import see

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vfsd.snapshots.store import Store


def seal_directory(
    store: Store, new: Snapshot, layer_dir: str, *, replace: bool, since_ns: int | None
) -> Snapshot:
    """Do what `Store.save_directory` promises; `new` has the chain below the layer."""

    def take(staging: Staging) -> Layer:
        whole = new.base is None and not new.chain
        layer = Layer(staging.id, DIR, time.time_ns(), whole)
        if new.base is not None:
            with HostTree(layer_dir, marks=True, kind="layer") as upper, HostTree(new.base) as host:
                told = see(upper, host, since_ns).to_record()
            records.write(staging.part("fingerprints"), told, durable=False)
        adopt_directory(layer_dir, staging.part("tree"), store.place.root)
        return layer

    return _seal(store, new, take, "tree", layer_dir, replace=replace)


def seal_packed(store: Store, new: Snapshot, archive: str, *, replace: bool) -> Snapshot:
    """Do what `Store.save_packed` promises, likewise."""

    def take(staging: Staging) -> Layer:
        size_bytes, digest = adopt_file(archive, staging.part("pack"))
        if new.base is not None:
            # Here, since a run needs this module and no archives.
            from vfsd.snapshots.packlayer import PackLayer

            with PackLayer(staging.id, staging.part("pack")) as layer, HostTree(new.base) as host:
                told = see(layer, host).to_record()
            records.write(staging.part("fingerprints"), told, durable=True)
        whole = new.base is None and not new.chain
        return Layer(staging.id, PACKED, time.time_ns(), whole, size_bytes, digest)

    return _seal(store, new, take, "pack", archive, replace=replace)


def _seal(
    store: Store,
    new: Snapshot,
    take: Callable[[Staging], Layer],
    part: str,
    source: str,
    *,
    replace: bool,
) -> Snapshot:
    """Have `take` move `source` into a staging directory as `part`, and publish that."""
    check_name(new.name)
    if not replace:
        store.check_free(new.name)
    with ExitStack() as held:
        held.enter_context(refused_when_full(store.place.root, new.name))
        made = []
        if len(new.chain) >= LAYERS_MAX:
            made.append(held.enter_context(_folded(store, new.chain)))
            new = new._replace(chain=(made[0].id,), settled=False)
        staging = held.enter_context(store.stage())
        made.append(staging)
        snapshot = new._replace(chain=(staging.id, *new.chain))
        try:
            layer = take(staging)
            durable = layer.kind == PACKED
            records.write(staging.part("record"), layer.to_record(), durable=durable)
            records.write(staging.part("name"), snapshot.to_record(), durable=durable)
            if durable:
                records.sync_directory(staging.path)
            _publish(store, staging, snapshot, replace=replace, durable=durable)
        except BaseException:
            if not _is_published(store, snapshot):
                give_back(staging.part(part), source)
                raise
            # Interrupted after the name was there: it is whole, and stays.
            for each in made:
                each.release()
            raise
        for each in made:
            each.release()
    return snapshot


@contextmanager
def _folded(store: Store, chain: Sequence[str]) -> Iterator[Staging]:
    """Make one layer of a chain that is too deep; it goes again unless it is released."""
    # Rarely needed, and as long to import as all the rest.
    from vfsd.snapshots.folding import folded

    layers = tuple(map(store.layer, chain))
    with folded(store, layers) as below:
        with locked(store.place.lock, exclusive=False):
            below.become_layer()
        yield below


def _publish(
    store: Store, staging: Staging, snapshot: Snapshot, *, replace: bool, durable: bool
) -> None:
    target = store.place.snapshot(snapshot.name)
    with locked(store.place.lock, exclusive=False):
        for layer in snapshot.chain[1:]:
            store.layer(layer)
        staging.become_layer()
        if durable:
            records.sync_directory(store.place.layers)
        if replace:
            os.rename(staging.part("name"), target)
        else:
            try:
                rename_new(staging.part("name"), target)
            except FileExistsError:
                raise NameTaken(snapshot.name) from None
        if durable:
            records.sync_directory(store.place.snapshots)


def _is_published(store: Store, snapshot: Snapshot) -> bool:
    with suppress(Damaged, NotFound, OSError):
        return store.snapshot(snapshot.name).id == snapshot.id
    return False
