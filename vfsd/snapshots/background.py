"""The program that settles a snapshot after the command that saved it has ended.

`python -m vfsd.snapshots.background STORE NAME`: the snapshot is had on disk with its digests, a
deep chain is folded, and what a snapshot of that name held before, if it was replaced, is freed.

What it is *not*: needed. What it leaves undone, whatever ends it, `vfsd gc` does.

Concurrency: a process of its own, with less right to the CPU than others.
"""

from __future__ import annotations

import os
import sys

from vfsd.blocks import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vfsd.snapshots.store import Store


def settle_in_background(store: Store, name: str) -> int:
    """Start the program for a snapshot, and return its process id.

    It outlives the caller and shares none of its descriptors. A caller that lives long uses
    `settle` in a thread instead, since it would have to wait for the child's end.
    """
    # -P: what lies in the current directory is not ours to import.
    arguments = [sys.executable, "-P", "-m", "vfsd.snapshots.background", store.place.root, name]
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=null, setsid=True)


def main(arguments: Sequence[str]) -> int:
    """Do the work; nobody reads what this program says."""
    # Imported here: whoever starts this program needs none of it.
    from vfsd.errors import UserError
    from vfsd.snapshots.collection import drop_unused
    from vfsd.snapshots.folding import fold_if_deep
    from vfsd.snapshots.settling import settle
    from vfsd.snapshots.store import Store

    os.nice(10)
    root, name = arguments
    store = Store(root)
    # What went wrong is still so when `vfsd gc` or `vfsd snapshot verify` comes by and tells it.
    code = 1
    with suppress(UserError, OSError):
        fold_if_deep(store, settle(store, name).name)
        code = 0
    # Also what was removed while it was being settled.
    with suppress(UserError, OSError):
        drop_unused(store)
        return code
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
