"""What clears up after a run whose vfsd was killed with SIGKILL.

All processes of a sandbox end with vfsd by the kernel's doing, except in one moment of bwrap's
start, in which its child would be left asleep; and directories never end by themselves. So
beside each run a shell waits on a pipe that only vfsd holds. Where that ends without a word, it
kills bwrap's process group, which the child still belongs to in that moment, and removes what
the run had: its directory, its control groups.

What it is *not*: needed at any other end of a run, which clears up itself.

Concurrency: an attendant. It takes a third of a millisecond of a run.

Sources: bwrap's main(), between handle_die_with_parent and the release of the child; flock(1).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from vfsd.sandbox.attendant import Attendant, Running
from vfsd.sandbox.spawning import pipe

SCRIPT = """
PATH=/usr/bin:/bin
cd /
read -r group || exit
read -r over && exit
again() { n=0; until "$@" || [ $n -ge 100 ]; do n=$((n + 1)); sleep 0.05; done; }
gone() { ! kill -9 "-$group"; }
again gone
run=$1
shift
for each do again rmdir "$each"; done
[ -z "$run" ] || again flock -w 5 "$run/record" rm -rf -- "$run"
"""
"""The second line comes when the run is over; it is absent where vfsd was killed."""


class Guardian(Attendant):
    """Waits for the end of vfsd beside one run."""

    def __init__(self, directory: str, groups: Sequence[str]) -> None:
        self._words = (directory, *groups)
        self._pipe: int | None = None
        self._pid = 0

    def starting(self) -> None:
        """Be there before there is anything to clear up."""
        reader, self._pipe = pipe()
        try:
            null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)]
            self._pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", SCRIPT, "vfsd-run", *self._words],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0), *null],
                setsid=True,
            )
        finally:
            os.close(reader)

    def started(self, run: Running, bwrap: int) -> None:
        """bwrap leads a session, so its pid is that of its process group."""
        self._tell(f"{bwrap}\n")

    def ended(self, code: int) -> int:
        """Nothing is left to do."""
        self.abandoned()
        return code

    def abandoned(self) -> None:
        """Likewise: who failed clears up."""
        if self._pipe is not None:
            self._tell("\nover\n")
            os.close(self._pipe)
            self._pipe = None
            os.waitpid(self._pid, 0)

    def _tell(self, text: str) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe, text.encode())
            except BrokenPipeError:  # somebody has killed it
                return
