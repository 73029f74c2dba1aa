"""The store: snapshots that outlive every daemon, as directories and files of one user.

A snapshot is a record that names layers; a layer is sealed once it is there. Both appear by one
rename, so that a process killed at any instant, or a full disk, leaves a whole snapshot
or none.

**What is durable when.** `save_directory` returns as soon as the kernel has everything: that
survives the end of every process, not the end of power. `settle` (settling.py), which runs in
the background, writes digests and has everything on disk. A snapshot that was not settled when
the machine went down is refused until somebody accepts it. `save_packed` settles at once.

What it is *not*: the saving itself (sealing.py), merging and folding of layers (merging.py),
removal (collection.py), checks (verification.py), a daemon's own snapshots (live.py).

Concurrency: blocking calls. Any number of processes and threads may use one store; see
place.py for the locks.
"""

from __future__ import annotations

import os
import time

from vfsd.blocks import suppress
from vfsd.snapshots import records
from vfsd.snapshots.kept import Layer, Snapshot, boot, layer_of, snapshot_of
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.locking import locked
from vfsd.snapshots.names import check_name, is_name
from vfsd.snapshots.place import Place, default_root, is_id, new_id
from vfsd.snapshots.refusals import Damaged, NameTaken, NotFound, UnknownVersion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vfsd.snapshots.staging import Staging
    from vfsd.snapshots.touched import Touched


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
        from vfsd.snapshots.staging import Staging

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

        # Imported here, as below: a run that keeps nothing does without.
        from vfsd.snapshots.sealing import seal_directory

        new = self._new(name, base, chain, command, parent, settled=False)
        return seal_directory(self, new, layer_dir, replace=replace, since_ns=since_ns)

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

        from vfsd.snapshots.sealing import seal_packed

        settled = all(map(self.is_settled, chain))
        new = self._new(name, base, chain, command, parent, settled=settled)
        return seal_packed(self, new, archive, replace=replace)

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
        from vfsd.snapshots.touched import seen_by

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
