"""The engine `kernel`: the kernel's overlayfs over the base, in the sandbox's own namespace.

The layer that the command writes is a tmpfs, gone with the run, or a directory, where it may
have to be kept. Both are in the format of stored layers, so keeping one copies nothing.

What it is *not*: the program that mounts it, which must be in that namespace before bwrap is
(enter.c; enter.py where that was not compiled).

Concurrency: as for every attendant.

Source: Linux overlayfs.rst.
"""

from __future__ import annotations

import os
import sys

from vfsd.blocks import suppress
from vfsd.sandbox.attendant import Attendant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vfsd.sandbox.attendant import Running

HERE = os.path.dirname(__file__)
PROGRAM = os.path.join(HERE, "_enter")
SCRIPT = os.path.join(HERE, "enter.py")


class Overlaid(Attendant):
    """An overlay for one run. `place` and `lowers` are directories; the topmost lower first."""

    name = "kernel"

    def __init__(
        self, lowers: Sequence[str], place: str | None = None, tmpfs: Sequence[str] = ()
    ) -> None:
        self._lowers = tuple(lowers)
        self._in_directory = place is not None
        # A tmpfs can stand on any directory: nobody else sees it there.
        self._place = self._lowers[0] if place is None else place
        self._tmpfs = ",".join(("mode=0700", *tmpfs))
        self._upper: int | None = None

    @property
    def source(self) -> str:
        """Where the overlay shows, for bwrap."""
        return os.path.join(self._place, "merged")

    def words(self, status: int) -> Sequence[str]:
        """Start the program that mounts, and then bwrap."""
        upper = "directory" if self._in_directory else self._tmpfs
        return [*program(), str(status), self._place, upper, *self._lowers, "--"]

    def started(self, run: Running, bwrap: int) -> None:
        """Keep in mind whose root directory has the layer."""
        self._bwrap = bwrap

    def inside(self, init: int) -> None:
        """Open the layer: when the run has ended, no path leads there any more."""
        path = os.path.join(self._place, "tree")
        if not self._in_directory:
            path = f"/proc/{self._bwrap}/root{path}"
        with suppress(OSError):  # it has ended already, and has changed nothing
            self._upper = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def tree(self) -> str | None:
        """The layer's path, where it is in a directory."""
        return os.path.join(self._place, "tree") if self._in_directory else None

    @property
    def upper(self) -> int | None:
        """The layer as an open directory, once the sandbox stood."""
        return self._upper

    @property
    def lowers(self) -> tuple[str, ...]:
        """The layers below it."""
        return self._lowers

    def close(self) -> None:
        """Let the layer go; a tmpfs is freed by that."""
        if self._upper is not None:
            os.close(self._upper)
            self._upper = None


def program() -> list[str]:
    """Return the words that start what mounts."""
    if os.access(PROGRAM, os.X_OK):
        return [PROGRAM]
    return [sys.executable, "-I", "-S", SCRIPT]
