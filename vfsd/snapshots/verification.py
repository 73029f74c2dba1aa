"""Looking for damage: every record, every archive, every file of the store.

Each damage names the file that is damaged and the snapshots that need it; what is healthy stays
usable. A layer that was never settled has no digests to compare with; it is settled now.

What it is *not*: repair. Removing a damaged snapshot and making it again is.

Concurrency: blocking calls, beside any number of forks and saves; reads every byte.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from vfsd.digest import content_hasher
from vfsd.errors import UserError
from vfsd.snapshots import records
from vfsd.snapshots.kept import PACKED, Layer
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.locking import hold_if_free, locked
from vfsd.snapshots.manifest import Told, damage
from vfsd.snapshots.names import check_name
from vfsd.snapshots.place import new_id
from vfsd.snapshots.refusals import Damaged, NotFound
from vfsd.snapshots.removal import remove_tree
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store
from vfsd.snapshots.touched import seen_by

_CHUNK_BYTES = 1 << 20
_NO_PLACE_FOR_DIGESTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Found:
    """One damage: a sentence that names the file, and the snapshots that it hurts."""

    what: str
    snapshots: tuple[str, ...]


@dataclass(slots=True)
class Verified:
    """What was looked at and what was found."""

    snapshots: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    damages: list[Found] = field(default_factory=list)

    @property
    def damaged(self) -> list[str]:
        """The names of the snapshots that are hurt, sorted."""
        return sorted({name for found in self.damages for name in found.snapshots})


def verify(
    store: Store,
    names: Sequence[str] = (),
    *,
    accept: bool = False,
    told: Told | None = None,
) -> Verified:
    """Check these snapshots, or all and what else there is. NotFound.

    `accept` takes what the end of an earlier boot may have hurt as it is now.
    """
    done = Verified()
    for name in names:
        check_name(name)
    if not names:
        _store_itself(store, done)
    hurt: dict[str, list[str]] = {}
    users: defaultdict[str, list[str]] = defaultdict(list)
    for name in names or store.names():
        done.snapshots.append(name)
        try:
            settle(store, name, accept=accept, told=told)
        except NotFound:
            if names:
                raise
            done.snapshots.pop()
            continue
        except (OSError, UserError) as error:
            if isinstance(error, OSError) and error.errno in _NO_PLACE_FOR_DIGESTS:
                raise
            done.damages.append(Found(_sentence(error), (name,)))
        with ExitStack() as held:
            # A damaged snapshot cannot be leased, and is not collected either.
            with suppress(OSError, UserError):
                held.enter_context(Lease(store, name, accept=True))
            for layer in _chain(store, name):
                users[layer].append(name)
                if layer not in hurt:
                    hurt[layer] = list(_layer(store, layer, told))
    for layer, found in hurt.items():
        if found and os.path.lexists(store.place.layer(layer, "pack")):
            _drop_unpacked(store, layer)
    done.layers += hurt
    done.damages += (
        Found(what, tuple(users[layer])) for layer, found in hurt.items() for what in found
    )
    return done


def _chain(store: Store, name: str) -> Sequence[str]:
    try:
        return store.snapshot(name).chain
    except UserError:
        return ()


def _store_itself(store: Store, done: Verified) -> None:
    try:
        records.read(store.place.format)
    except FileNotFoundError:
        if store.names():
            done.damages.append(Found(f"{store.place.format} is missing", ()))
    except Damaged as error:
        done.damages.append(Found(error.message, ()))


def _layer(store: Store, name: str, told: Told | None) -> Iterator[str]:
    place = store.place
    try:
        layer = store.layer(name)
        seen_by(place, [name])
    except Damaged as error:
        yield error.message
        return
    try:
        if layer.kind == PACKED:
            yield from _pack(store, layer)
        tree, manifest = place.layer(name, "tree"), place.layer(name, "manifest")
        if layer.kind != PACKED:
            yield from damage(tree, manifest, told)
        elif os.path.isdir(tree):
            for what in damage(tree, manifest, told):
                yield f"{what} (unpacked again when it is needed)"
    except (OSError, Damaged) as error:
        yield _sentence(error)


def _drop_unpacked(store: Store, layer: str) -> None:
    """Remove the damaged directory of a packed layer if nobody uses it; the archive counts."""
    tree = store.place.layer(layer, "tree")
    with locked(store.place.lock, exclusive=True):
        lease = hold_if_free(store.place.layer(layer, "lease"))
        if lease is None:
            return
        try:
            gone = store.place.staged(f"gone-{new_id()}")
            os.rename(tree, gone)
        except FileNotFoundError:
            return
        finally:
            os.close(lease)
    remove_tree(gone)


def _pack(store: Store, layer: Layer) -> Iterator[str]:
    path = store.place.layer(layer.id, "pack")
    hasher = content_hasher()
    with open(path, "rb") as file:
        while data := file.read(_CHUNK_BYTES):
            hasher.update(data)
        size_bytes = file.tell()
    if size_bytes != layer.size_bytes or hasher.digest() != layer.digest:
        yield f"{path} is damaged: its digest does not agree with what it holds"


def _sentence(error: Exception) -> str:
    if isinstance(error, UserError):
        return error.message
    if isinstance(error, OSError) and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)
