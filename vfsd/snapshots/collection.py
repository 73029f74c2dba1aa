"""Removing snapshots, and collecting what nobody uses any more.

What goes is renamed out of the way first and then removed, so that a layer is there wholly or
not at all. Nothing that is in use goes: a fork's lease keeps its layers, a lock keeps what is
being made. While one snapshot's record cannot be read, nobody knows what it needs, and no layer
goes.

What it is *not*: the rules which layers could be merged (usage.py), or the merging (merging.py).

Concurrency: blocking calls. Names and layers change with the store's lock held exclusively, which
is short; merging and removing files happen without it, beside saves and forks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from vfsd.errors import UserError
from vfsd.snapshots import records
from vfsd.snapshots.durable import settle_staged
from vfsd.snapshots.folding import LAYERS_SOON, fold_if_deep, folded
from vfsd.snapshots.kept import Snapshot
from vfsd.snapshots.locking import hold_if_free, locked
from vfsd.snapshots.names import check_name
from vfsd.snapshots.place import new_id
from vfsd.snapshots.refusals import Damaged, InUse, NotFound
from vfsd.snapshots.removal import remove_tree, tree_bytes
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store, snapshots
from vfsd.snapshots.usage import runs, users, without

Step = Callable[[str], None]
"""Called with what is being worked on."""


@dataclass(slots=True)
class Collected:
    """What was collected, or what would be."""

    leftovers: int = 0
    layers: list[str] = field(default_factory=list)
    merged: list[tuple[str, ...]] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    freed_bytes: int = 0
    kept: list[str] = field(default_factory=list)
    """Why something stays that could go, each as a sentence."""

    def keep(self, *reasons: str) -> None:
        """Tell why something stays, once."""
        self.kept += [reason for reason in reasons if reason not in self.kept]


def remove(store: Store, name: str, *, force: bool = False) -> Collected:
    """Remove a snapshot, damaged ones too, and free what only it held. NotFound, InUse.

    `force` takes the name also while a fork is running on it.
    """
    place = store.place
    path = place.snapshot(check_name(name))
    if not os.path.lexists(path):
        raise NotFound(name, store.names())
    with locked(place.lock, exclusive=True):
        if not os.path.lexists(path):
            raise NotFound(name, store.names())
        lease = hold_if_free(place.lease(name))
        try:
            if lease is None and not force:
                raise InUse(name)
            _hand_down(store, name)
            os.unlink(path)
            records.sync_directory(place.snapshots)
            if lease is not None:
                os.unlink(place.lease(name))
        finally:
            if lease is not None:
                os.close(lease)
    done = Collected()
    _drop_unused(store, done)
    _merge_runs(store, done)
    _drop_unused(store, done)
    return done


def collect(store: Store, step: Step = lambda _: None) -> Collected:
    """Collect everything that is of no use, and do what a background step left undone."""
    done = Collected()
    if not os.path.isdir(store.place.root):
        return done
    step("what was left unfinished")
    _drop_leftovers(store, done)
    if store.format_damage is not None:
        store.write_format()
    _settle(store, done, step)
    step("unused layers")
    _drop_unused(store, done)
    _merge_runs(store, done, step)
    _drop_unused(store, done)
    return done


def drop_unused(store: Store) -> Collected:
    """Remove the layers that no snapshot and no fork uses; merge none."""
    done = Collected()
    _drop_unused(store, done)
    return done


def foresee(store: Store) -> Collected:
    """Return what `collect` would do now, without doing anything."""
    done = Collected()
    if not os.path.isdir(store.place.root):
        return done
    known, damaged = _read_all(store)
    done.keep(*damaged)
    with locked(store.place.lock, exclusive=True):
        paths = [store.place.staged(name) for name in _leftovers(store)]
        done.leftovers = len(paths)
        if not damaged:
            done.layers = _unused(store, known, done)
            paths += map(store.place.layer, done.layers)
    done.freed_bytes = tree_bytes(paths)
    for snapshot in known:
        if len(snapshot.chain) > LAYERS_SOON:
            done.folded.append(snapshot.name)
        if not snapshot.settled:
            done.settled.append(snapshot.name)
    done.merged = [] if damaged else runs(each.chain for each in known)
    return done


def _hand_down(store: Store, name: str) -> None:
    """Give the children of a snapshot that goes its own parent."""
    try:
        parent = store.snapshot(name).parent
    except Damaged:
        parent = None
    for child in snapshots(store):
        if isinstance(child, Snapshot) and child.parent == name:
            store.replace_record(child, child._replace(parent=parent))


def _read_all(store: Store) -> tuple[list[Snapshot], list[str]]:
    known = []
    damaged = []
    for each in snapshots(store):
        if isinstance(each, Snapshot):
            known.append(each)
        else:
            damaged.append(
                f"no layer is removed while the snapshot {each[0]!r} cannot be read"
                f" ({each[1].message})"
            )
    return known, damaged


def _leftovers(store: Store) -> list[str]:
    """Return what nobody works on in `staging`; the store's lock is held exclusively."""
    found = []
    for name in os.listdir(store.place.staging):
        path = store.place.staged(name)
        if os.path.isdir(path) and os.path.lexists(os.path.join(path, "lease")):
            lease = hold_if_free(os.path.join(path, "lease"))
            if lease is None:
                continue
            os.close(lease)
        found.append(name)
    return found


def _drop_leftovers(store: Store, done: Collected) -> None:
    with locked(store.place.lock, exclusive=True):
        gone = _aside(store, [store.place.staged(name) for name in _leftovers(store)])
        _drop_lease_files(store)
    done.leftovers += len(gone)
    for path in gone:
        _remove(path, done)


def _drop_lease_files(store: Store) -> None:
    for name in set(os.listdir(store.place.leases)) - set(store.names()):
        lease = hold_if_free(store.place.lease(name))
        if lease is not None:
            os.unlink(store.place.lease(name))
            os.close(lease)


def _unused(store: Store, known: list[Snapshot], done: Collected) -> list[str]:
    used = users(each.chain for each in known)
    found = []
    for layer in store.layers():
        if used[layer]:
            continue
        lease = hold_if_free(store.place.layer(layer, "lease"))
        if lease is None:
            done.keep(f"the layer {layer} is in use by a fork that is running, or is being settled")
            continue
        os.close(lease)
        found.append(layer)
    return found


def _drop_unused(store: Store, done: Collected) -> None:
    with locked(store.place.lock, exclusive=True):
        known, damaged = _read_all(store)
        done.keep(*damaged)
        if damaged:
            return
        unused = _unused(store, known, done)
        gone = _aside(store, [store.place.layer(layer) for layer in unused])
    done.layers += unused
    for path in gone:
        _remove(path, done)


def _aside(store: Store, paths: Iterable[str]) -> list[str]:
    """Rename what goes to names without a lease: whoever finds one knows that nobody needs it."""
    moved = []
    for path in paths:
        gone = store.place.staged(f"gone-{new_id()}")
        # Somebody else may just have finished removing what was found.
        with suppress(FileNotFoundError):
            os.rename(path, gone)
            moved.append(gone)
        with suppress(OSError):
            os.unlink(os.path.join(gone, "lease"))
    return moved


def _remove(path: str, done: Collected) -> None:
    try:
        done.freed_bytes += remove_tree(path)
    except UserError as error:
        done.keep(error.message)
    except OSError as error:
        # Two that remove the same leftovers get in each other's way; one of them finishes.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _merge_runs(store: Store, done: Collected, step: Step = lambda _: None) -> None:
    known, damaged = _read_all(store)
    if damaged:
        return
    for run in runs(each.chain for each in known):
        step(f"{len(run)} layers that are only used together")
        try:
            _merge(store, run)
        except (OSError, UserError) as error:
            done.keep(f"the layers {', '.join(run)} stay apart: {error}")
        else:
            done.merged.append(run)


def _merge(store: Store, run: tuple[str, ...]) -> None:
    layers = tuple(map(store.layer, run))
    with folded(store, layers) as staging:
        if all(map(store.is_settled, run)):
            settle_staged(store.place, staging)
        with locked(store.place.lock, exclusive=True):
            # What was saved meanwhile may use a part of the run, and then needs it as it is.
            known, _ = _read_all(store)
            layer = staging.become_layer()
            records.sync_directory(store.place.layers)
            for snapshot in known:
                chain = without(snapshot.chain, run, layer)
                if chain != snapshot.chain:
                    store.replace_record(snapshot, snapshot._replace(chain=chain))
        staging.release()


def _settle(store: Store, done: Collected, step: Step) -> None:
    for snapshot in snapshots(store):
        if not isinstance(snapshot, Snapshot):
            continue
        step(snapshot.name)
        try:
            if not snapshot.settled:
                settle(store, snapshot.name)
                done.settled.append(snapshot.name)
            if fold_if_deep(store, snapshot.name):
                done.folded.append(snapshot.name)
        except (OSError, UserError) as error:
            undone = "folded" if snapshot.name in done.settled else "settled"
            done.keep(f"the snapshot {snapshot.name!r} is not {undone}: {error}")
