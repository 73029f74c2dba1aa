"""Unpacking a packed layer, once, so that engines that need a directory find one.

The directory stands beside the archive, which stays what counts. It gets its name once all of it
is on disk, with a manifest by which `vfsd snapshot verify` finds damage; a damaged one is removed,
and made anew when it is next needed.

What it is *not*: needed to read; see packlayer.py.

Concurrency: blocking calls. Of processes that unpack the same layer at once the first one's
directory stays.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from vfsd.snapshots.kept import PACKED, Layer
from vfsd.snapshots.refusals import Damaged, refused_when_full

if TYPE_CHECKING:
    from vfsd.snapshots.store import Store


def tree_of(store: Store, layer: Layer) -> str:
    """Return the directory of a layer, unpacked if need be. Damaged, StoreFull.

    The caller sees to it that the layer stays meanwhile.
    """
    tree = store.place.layer(layer.id, "tree")
    if not os.path.isdir(tree):
        if layer.kind != PACKED:
            raise Damaged(f"the layer {layer.id} is damaged: {tree} is missing")
        _unpack(store, layer, tree)
    return tree


def _unpack(store: Store, layer: Layer, tree: str) -> None:
    # A fork of directories alone starts without these.
    from vfsd.snapshots.durable import settle_staged
    from vfsd.snapshots.packlayer import PackLayer
    from vfsd.snapshots.writing import write_tree

    pack = store.place.layer(layer.id, "pack")
    with refused_when_full(store.place.root, layer.id), store.stage() as staging:
        try:
            with PackLayer(layer.id, pack) as view:
                write_tree(view, staging.part("tree"))
        except FileNotFoundError as error:
            raise Damaged(f"the layer {layer.id} is damaged: {pack} is missing") from error
        settle_staged(store.place, staging)
        # Whoever else unpacked it wrote the same manifest.
        os.rename(staging.part("manifest"), store.place.layer(layer.id, "manifest"))
        try:
            os.rename(staging.part("tree"), tree)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
