"""Starting what settles a snapshot (settling.py), without importing it.

What it is *not*: the work. A run that keeps its layer must not wait for the import either.

Concurrency: returns at once; the process that it starts outlives the caller.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfsd.snapshots.store import Store

PROGRAM = "vfsd.snapshots.settling"


def settle_in_background(store: Store, name: str) -> int:
    """Start a process of its own that settles the snapshot, and return its id.

    It outlives the caller and shares none of its descriptors. A caller that lives long uses
    `settle` in a thread instead, since it would have to wait for the child's end.
    """
    # -P: what lies in the current directory is not ours to import.
    arguments = [sys.executable, "-P", "-m", PROGRAM, store.place.root, name]
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=null, setsid=True)
