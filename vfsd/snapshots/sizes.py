"""How much snapshots hold: their layers' files and bytes.

What a manifest or an archive's record says is believed; a layer that has neither yet is walked.
Bytes are those of regular files, as `ls -l` counts them; hard links count once per name.

What it is *not*: what removing would free (collection.py), which depends on what others share.

Concurrency: blocking calls; what goes meanwhile counts as nothing.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterable, Mapping
from contextlib import suppress

from vfsd.snapshots.kept import PACKED, Snapshot
from vfsd.snapshots.manifest import Totals, read_totals
from vfsd.snapshots.refusals import Damaged
from vfsd.snapshots.store import Store
from vfsd.snapshots.usage import users


def layer_totals(store: Store, layer: str) -> Totals:
    """Return what a layer holds; of an archive the files are not counted. Damaged."""
    kept = store.layer(layer)
    if kept.kind == PACKED:
        return Totals(0, kept.size_bytes or 0)
    with suppress(FileNotFoundError):
        return read_totals(store.place.layer(layer, "manifest"))
    return _walked(store.place.layer(layer, "tree"))


def own_layers(snapshots: Iterable[Snapshot]) -> Mapping[str, tuple[str, ...]]:
    """Return for each name the layers that no other of these snapshots uses."""
    known = list(snapshots)
    used = users(each.chain for each in known)
    return {each.name: tuple(it for it in each.chain if used[it] == 1) for each in known}


def total_bytes(store: Store, layers: Iterable[str]) -> int | None:
    """Return what layers hold together; None if one of them is damaged."""
    try:
        return sum(layer_totals(store, layer).size_bytes for layer in layers)
    except (Damaged, OSError):
        return None


def _walked(tree: str) -> Totals:
    files = size_bytes = 0
    todo = [tree]
    while todo:
        with suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                    continue
                stat = entry.stat(follow_symlinks=False)
                files += 1
                if stat_module.S_ISREG(stat.st_mode):
                    size_bytes += stat.st_size
    return Totals(files, size_bytes)
