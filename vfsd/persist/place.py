"""Where a kept tree's journal lies, and the lock that gives its name to one daemon only.

    $XDG_STATE_HOME/vfsd/persist/NAME/lock            flock: held by the daemon that has the tree
    $XDG_STATE_HOME/vfsd/persist/NAME/NUMBER.journal  what changed since the snapshot was frozen
                                                      that says NUMBER, and up to the next one

What it is *not*: what stands in a journal (journal.py).

Concurrency: short blocking calls; the lock ends with the process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.locking import hold_if_free
from vfsd.snapshots.names import check_name
from vfsd.snapshots.place import default_root
from vfsd.snapshots.records import sync_directory

SUFFIX = ".journal"
COMMAND = (b"vfsd", b"persist")
"""How the snapshot of a kept tree begins to say what made it; the number follows."""


def root_directory() -> str:
    """Return where this user's kept trees are."""
    return os.path.join(os.path.dirname(default_root()), "persist")


class Place:
    """One name, held from the making of this until `close`."""

    def __init__(self, name: str) -> None:
        """Take the name. UserError (REFUSED) if another daemon has it."""
        self.name = check_name(name)
        self.directory = os.path.join(root_directory(), name)
        os.makedirs(self.directory, 0o700, exist_ok=True)
        lock = hold_if_free(os.path.join(self.directory, "lock"))
        if lock is None:
            raise UserError(
                f"the kept tree {name!r} is in use by another daemon; unmount that first, or"
                " choose another name for persist",
                ExitCode.REFUSED,
            )
        self._lock = lock
        sync_directory(os.path.dirname(self.directory))

    def path(self, number: int) -> str:
        """Return the path of a journal."""
        return os.path.join(self.directory, f"{number:012}{SUFFIX}")

    def numbers(self) -> list[int]:
        """Return the numbers of the journals that are there, ascending."""
        names = [name.removesuffix(SUFFIX) for name in os.listdir(self.directory)]
        return sorted(int(name) for name in names if name.isdigit())

    def drop_below(self, number: int) -> None:
        """Remove the journals that the stored snapshot has in it."""
        for each in self.numbers():
            if each < number:
                os.unlink(self.path(each))

    def close(self) -> None:
        """Give the name back."""
        os.close(self._lock)


def command(number: int) -> tuple[bytes, ...]:
    """Return what a snapshot says whose tree journal `number` goes on from."""
    return (*COMMAND, b"%d" % number)


def number_of(words: Sequence[bytes]) -> int | None:
    """Return the journal that goes on from a snapshot; None if that is not of a kept tree."""
    if len(words) == len(COMMAND) + 1 and tuple(words[:-1]) == COMMAND and words[-1].isdigit():
        return int(words[-1])
    return None
