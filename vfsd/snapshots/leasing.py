"""A lease: what a running fork needs stays in the store until the fork ends.

It is held by descriptors, so it ends with the process that holds it, however that ends. A
snapshot whose name is leased is neither removed nor renamed; a layer that is leased is not
removed even if its snapshot is, or stands on others meanwhile.

What it is *not*: a lock against writing; layers are sealed.

Concurrency: one thread at a time; leases exclude nobody but those who remove.
"""

from __future__ import annotations

import os

from vfsd.snapshots.kept import PACKED, Layer, boot
from vfsd.snapshots.locking import hold, locked
from vfsd.snapshots.refusals import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from vfsd.snapshots.hosttree import HostTree
    from vfsd.snapshots.layered import LayeredView
    from vfsd.snapshots.manifest import Told
    from vfsd.snapshots.packlayer import PackLayer
    from vfsd.snapshots.store import Store
    from vfsd.snapshots.view import TreeView


class Lease:
    """See the module. `close` gives it back; also a context manager."""

    def __init__(
        self, store: Store, name: str, *, accept: bool = False, named: bool = True
    ) -> None:
        """Take the lease; `accept` even if an earlier boot's end may have hurt it.

        Unless `named`, of the layers alone: for work in the background, which is no fork, and
        must not keep anybody from removing or renaming the snapshot.
        """
        self._store = store
        self._held: list[int] = []
        self.snapshot = store.snapshot(name)
        try:
            with locked(store.place.lock, exclusive=False):
                # Only now can it no longer be removed or get other layers.
                self.snapshot = store.snapshot(name)
                if not accept:
                    self._refuse_unsettled()
                self.layers: tuple[Layer, ...] = tuple(map(store.layer, self.snapshot.chain))
                if named:
                    self._held.append(hold(store.place.lease(name), exclusive=False))
                for layer in self.snapshot.chain:
                    self._held.append(hold(store.place.layer(layer, "lease"), exclusive=False))
        except BaseException:
            self.close()
            raise

    @property
    def base(self) -> bytes | None:
        """The host directory below the chain, if there is one."""
        return self.snapshot.base

    def lowerdirs(self) -> list[str]:
        """Return the layers' directories, top first, without the base, for any overlay engine.

        A packed layer is unpacked when it is first asked for. Damaged, StoreFull.
        """
        return [self._tree(layer) for layer in self.layers]

    def source(self, layer: Layer) -> tuple[str, dict[str, str]]:
        """Return what opens one of the layers to be served, as a source with its options."""
        if layer.kind == PACKED:
            return f"archive:{self._store.place.layer(layer.id, 'pack')}", {}
        return f"passthrough:{self._store.place.layer(layer.id, 'tree')}", {"links": "keep"}

    def view(self) -> LayeredView:
        """Return what a fork would show; the caller closes it before the lease. Damaged."""
        return self.view_over(self.base)

    def view_over(self, base: bytes | str | None, *, without: int = 0) -> LayeredView:
        """Return what a fork on another base would show, `without` so many of the top layers.

        Packed layers are read as they are.
        """
        # Imported here, as in `_open`: a sandbox starts without the means to read trees.
        from contextlib import ExitStack

        from vfsd.snapshots.hosttree import HostTree
        from vfsd.snapshots.layered import LayeredView

        with ExitStack() as opening:
            trees: list[TreeView] = []
            for layer in self.layers[without:]:
                tree = self._open(layer)
                opening.callback(tree.close)
                trees.append(tree)
            below = None if base is None else opening.enter_context(HostTree(base))
            view = LayeredView(trees, below)
            view.hold(opening.pop_all())
        return view

    def _open(self, layer: Layer) -> HostTree | PackLayer:
        place = self._store.place
        if layer.kind == PACKED:
            from vfsd.snapshots.packlayer import PackLayer

            try:
                return PackLayer(layer.id, place.layer(layer.id, "pack"))
            except FileNotFoundError as error:
                raise Damaged(f"the layer {layer.id} is damaged: its archive is missing") from error
        from vfsd.snapshots.hosttree import HostTree

        return HostTree(self._tree(layer), marks=True, kind="layer", sealed=True)

    def _tree(self, layer: Layer) -> str:
        tree = self._store.place.layer(layer.id, "tree")
        if os.path.isdir(tree):
            return tree
        # Imported here: a sandbox on directories starts faster without archives.
        from vfsd.snapshots.unpacking import tree_of

        return tree_of(self._store, layer)

    def close(self) -> None:
        """Give the lease back. May be called twice."""
        while self._held:
            os.close(self._held.pop())

    def refuse_damaged(self, told: Told | None = None) -> None:
        """Compare every layer that has digests with them. Damaged names the first bad file.

        For what is to leave the store. A packed layer is checked as it is read.
        """
        # Imported here: a sandbox starts without the means to digest.
        from vfsd.snapshots.manifest import damage

        place = self._store.place
        for layer in self.layers:
            manifest = place.layer(layer.id, "manifest")
            if layer.kind == PACKED or not os.path.lexists(manifest):
                continue
            for sentence in damage(place.layer(layer.id, "tree"), manifest, told):
                raise Damaged(
                    f"{sentence}; 'vfsd snapshot verify {self.snapshot.name}' tells all of it"
                )

    def _refuse_unsettled(self) -> None:
        name = self.snapshot.name
        if not self.snapshot.settled and self.snapshot.boot != boot():
            raise Damaged(
                f"the machine went down before the snapshot {name!r} was on disk, so parts of it"
                f" may be missing; 'vfsd snapshot rm {name}' removes it, 'vfsd snapshot verify"
                f" --accept {name}' takes it as it is"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
