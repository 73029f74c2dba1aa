"""The store: snapshots that outlive every daemon, as directories and files of one user.

A snapshot is a record that names layers; a layer is sealed once it is there. Both appear by one
rename, so that a process killed at any instant, or a full disk, leaves a whole snapshot
or none.

**What is durable when.** `save_directory` returns as soon as the kernel has everything: that
survives the end of every process, not the end of power. `settle` (settling.py), which runs in
the background, writes digests and has everything on disk. A snapshot that was not settled when
the machine went down is refused until somebody accepts it. `save_packed` settles at once.

What it is *not*: merging and folding of layers (merging.py), removal (collection.py), checks
(verification.py), a daemon's own snapshots (live.py).

Concurrency: blocking calls. Any number of processes and threads may use one store; see
place.py for the locks.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from vfsd.snapshots import records
from vfsd.snapshots.adoption import adopt_directory, adopt_file, give_back
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.kept import (
    DIR,
    LAYERS_MAX,
    PACKED,
    Layer,
    Snapshot,
    boot,
    layer_of,
    snapshot_of,
)
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.locking import locked
from vfsd.snapshots.names import check_name, is_name
from vfsd.snapshots.place import Place, default_root, is_id, new_id
from vfsd.snapshots.refusals import Damaged, NameTaken, NotFound, UnknownVersion, refused_when_full
from vfsd.snapshots.staging import Staging
from vfsd.snapshots.syscalls import rename_new
from vfsd.snapshots.touched import Touched, see, seen_by


class Store:
    """See the module. Nothing is made on disk before something is to be kept."""

    def __init__(self, root: str | None = None) -> None:
        """Open the store at `root`, by default this user's. Damaged if its version is unknown."""
        self.place = Place(os.path.abspath(default_root() if root is None else root))
        self.format_damage: Damaged | None = None
        with suppress(FileNotFoundError):
            self._check_format()

    # ---- keeping ----

    def stage(self) -> Staging:
        """Return a directory of one's own on the store's file system, to make a layer in."""
        self._prepare()
        return Staging(self.place)

    def check_free(self, name: str) -> None:
        """Refuse a name that is taken, or that no snapshot may have. NameTaken, UserError."""
        if os.path.lexists(self.place.snapshot(check_name(name))):
            raise NameTaken(name)

    def save_directory(
        self,
        name: str,
        layer_dir: str,
        *,
        base: str | bytes | None = None,
        chain: Sequence[str] = (),
        command: Iterable[str | bytes] = (),
        parent: str | None = None,
        replace: bool = False,
        since_ns: int | None = None,
    ) -> Snapshot:
        """Seal `layer_dir`, the upper directory of an overlay, over `chain` over `base`.

        The directory itself moves into the store; nothing in it is read but the parts that
        `base` has as well; what of those changed since `since_ns`, when the layer was begun, is a
        conflict to `vfsd apply`. Whoever calls holds a lease on what `chain` belongs to. On an
        error the directory is where it was. NameTaken, Elsewhere, StoreFull, Damaged.
        """

        def take(staging: Staging) -> Layer:
            layer = Layer(staging.id, DIR, time.time_ns(), base is None and not chain)
            if base is not None:
                with HostTree(layer_dir, marks=True, kind="layer") as upper, HostTree(base) as host:
                    told = see(upper, host, since_ns).to_record()
                records.write(staging.part("fingerprints"), told, durable=False)
            adopt_directory(layer_dir, staging.part("tree"), self.place.root)
            return layer

        new = self._new(name, base, chain, command, parent, settled=False)
        return self._seal(new, take, "tree", layer_dir, replace=replace)

    def save_packed(
        self,
        name: str,
        archive: str,
        *,
        base: str | bytes | None = None,
        chain: Sequence[str] = (),
        command: Iterable[str | bytes] = (),
        parent: str | None = None,
        replace: bool = False,
    ) -> Snapshot:
        """Seal a finished archive, which moves into the store, over `chain` over `base`.

        On disk when it returns, as far as `chain` is. On an error the file is where it was.
        NameTaken, StoreFull, Damaged.
        """

        def take(staging: Staging) -> Layer:
            size_bytes, digest = adopt_file(archive, staging.part("pack"))
            if base is not None:
                # Here, since a run needs this module and no archives.
                from vfsd.snapshots.packlayer import PackLayer

                with PackLayer(staging.id, staging.part("pack")) as layer, HostTree(base) as host:
                    told = see(layer, host).to_record()
                records.write(staging.part("fingerprints"), told, durable=True)
            whole = base is None and not chain
            return Layer(staging.id, PACKED, time.time_ns(), whole, size_bytes, digest)

        settled = all(map(self.is_settled, chain))
        new = self._new(name, base, chain, command, parent, settled=settled)
        return self._seal(new, take, "pack", archive, replace=replace)

    # ---- looking ----

    def names(self) -> list[str]:
        """Return the names of all snapshots, damaged ones included, sorted."""
        try:
            return sorted(name for name in os.listdir(self.place.snapshots) if is_name(name))
        except FileNotFoundError:
            return []

    def snapshot(self, name: str) -> Snapshot:
        """Return a snapshot by name. NotFound, Damaged."""
        path = self.place.snapshot(check_name(name))
        try:
            return snapshot_of(name, records.read(path), path)
        except FileNotFoundError:
            raise NotFound(name, self.names()) from None

    def layer(self, layer: str) -> Layer:
        """Return what is kept about a layer. Damaged."""
        path = self.place.layer(layer, "record")
        try:
            return layer_of(layer, records.read(path), path)
        except FileNotFoundError:
            raise Damaged(f"the layer {layer} is missing from the store: no {path}") from None

    def layers(self) -> list[str]:
        """Return the ids of all layers, used or not."""
        try:
            return sorted(filter(is_id, os.listdir(self.place.layers)))
        except FileNotFoundError:
            return []

    def is_settled(self, layer: str) -> bool:
        """Say whether a layer is on disk, so that the end of power does not hurt it."""
        return any(os.path.lexists(self.place.layer(layer, part)) for part in ("pack", "manifest"))

    def lease(self, name: str) -> Lease:
        """Hold a snapshot and its layers for a fork, until the lease is closed.

        NotFound, Damaged (a layer is, or the machine went down before it was on disk).
        """
        return Lease(self, name)

    def fingerprints(self, snapshot: Snapshot) -> Touched:
        """Return what the base had at the paths that the chain changes (touched.py). Damaged."""
        return seen_by(self.place, snapshot.chain).touched

    # ---- inside ----

    def replace_record(self, old: Snapshot, new: Snapshot) -> bool:
        """Put `new` in the place of `old` if nobody has changed that; say whether it was done.

        The caller holds the store's lock exclusively. On disk when it returns.
        """
        try:
            if self.snapshot(old.name) != old:
                return False
        except (NotFound, Damaged):
            return False
        temporary = self.place.staged(f"record-{new_id()}")
        records.write(temporary, new.to_record(), durable=True)
        os.rename(temporary, self.place.snapshot(old.name))
        records.sync_directory(self.place.snapshots)
        return True

    def _new(
        self,
        name: str,
        base: str | bytes | None,
        chain: Sequence[str],
        command: Iterable[str | bytes],
        parent: str | None,
        *,
        settled: bool,
    ) -> Snapshot:
        below = None if base is None else os.path.abspath(os.fsencode(base))
        words = tuple(map(os.fsencode, command))
        now = time.time_ns()
        own = os.urandom(8)
        return Snapshot(name, own, tuple(chain), below, now, words, parent, settled, boot())

    def _seal(
        self,
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
            self.check_free(new.name)
        with ExitStack() as held:
            held.enter_context(refused_when_full(self.place.root, new.name))
            made = []
            if len(new.chain) >= LAYERS_MAX:
                made.append(held.enter_context(self._folded(new.chain)))
                new = dataclasses.replace(new, chain=(made[0].id,), settled=False)
            staging = held.enter_context(self.stage())
            made.append(staging)
            snapshot = dataclasses.replace(new, chain=(staging.id, *new.chain))
            try:
                layer = take(staging)
                durable = layer.kind == PACKED
                records.write(staging.part("record"), layer.to_record(), durable=durable)
                records.write(staging.part("name"), snapshot.to_record(), durable=durable)
                if durable:
                    records.sync_directory(staging.path)
                self._publish(staging, snapshot, replace=replace, durable=durable)
            except BaseException:
                if not self._is_published(snapshot):
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
    def _folded(self, chain: Sequence[str]) -> Iterator[Staging]:
        """Make one layer of a chain that is too deep; it goes again unless it is released."""
        # Rarely needed, and as long to import as all the rest.
        from vfsd.snapshots.folding import folded

        layers = tuple(map(self.layer, chain))
        with folded(self, layers) as below:
            with locked(self.place.lock, exclusive=False):
                below.become_layer()
            yield below

    def _publish(
        self, staging: Staging, snapshot: Snapshot, *, replace: bool, durable: bool
    ) -> None:
        target = self.place.snapshot(snapshot.name)
        with locked(self.place.lock, exclusive=False):
            for layer in snapshot.chain[1:]:
                self.layer(layer)
            staging.become_layer()
            if durable:
                records.sync_directory(self.place.layers)
            if replace:
                os.rename(staging.part("name"), target)
            else:
                try:
                    rename_new(staging.part("name"), target)
                except FileExistsError:
                    raise NameTaken(snapshot.name) from None
            if durable:
                records.sync_directory(self.place.snapshots)

    def _is_published(self, snapshot: Snapshot) -> bool:
        with suppress(Damaged, NotFound, OSError):
            return self.snapshot(snapshot.name).id == snapshot.id
        return False

    def _prepare(self) -> None:
        os.makedirs(self.place.root, 0o700, exist_ok=True)
        for folder in self.place.folders:
            os.makedirs(folder, 0o700, exist_ok=True)
        if not os.path.lexists(self.place.format):
            self.write_format()

    def write_format(self) -> None:
        """Write the store's own record, in the place of any that is there."""
        temporary = self.place.staged(f"record-{new_id()}")
        with locked(self.place.lock, exclusive=False):
            records.write(temporary, {"layout": records.VERSION}, durable=True)
            os.rename(temporary, self.place.format)
        self.format_damage = None

    def _check_format(self) -> None:
        try:
            records.read(self.place.format)
        except UnknownVersion:
            raise
        except Damaged as damage:
            # Every other record has a version of its own, so what is healthy stays usable.
            self.format_damage = damage


def stored_names() -> list[str]:
    """Return the names in the user's own store. UserError."""
    return Store().names()


def snapshots(store: Store) -> Iterator[Snapshot | tuple[str, Damaged]]:
    """Go through all snapshots; of a damaged one its name and what is wrong."""
    for name in store.names():
        try:
            yield store.snapshot(name)
        except NotFound:
            continue
        except Damaged as damage:
            yield name, damage
