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

from vfsd.blocks import suppress
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.spawning import pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vfsd.sandbox.attendant import Running

SCRIPT = """
PATH=/usr/bin:/bin
cd /
run= groups= leader=
while read -r what value; do
    case $what in
        run) run=$value ;;
        group) groups="$groups $value" ;;
        leader) leader=$value ;;
        over) exit ;;
    esac
done
again() { n=0; until "$@" || [ $n -ge 100 ]; do n=$((n + 1)); sleep 0.05; done; }
gone() { ! kill -9 "-$leader"; }
[ -z "$leader" ] || again gone
for each in $groups; do again rmdir "$each"; done
[ -z "$run" ] || again flock -w 5 "$run/record" rm -rf --one-file-system -- "$run"
"""
"""The last line is absent where vfsd was killed."""


class Guardian(Attendant):
    """Waits for the end of vfsd beside one run, from before there is anything to clear up."""

    def __init__(self) -> None:
        reader, self._pipe = pipe()
        try:
            null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)]
            self._pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", SCRIPT, "vfsd-run"],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0), *null],
                setsid=True,
            )
        finally:
            os.close(reader)

    def watch(self, directory: str) -> None:
        """This is to be the run's directory."""
        self._tell("run", directory)

    def watch_groups(self, directories: Sequence[str]) -> None:
        """These are the run's control groups."""
        for each in directories:
            self._tell("group", each)

    def started(self, run: Running, bwrap: int) -> None:
        """bwrap leads a session, so its pid is that of its process group."""
        self._tell("leader", str(bwrap))

    def close(self) -> None:
        """The run is over: nothing is left to do."""
        self._tell("over", "")
        os.close(self._pipe)
        os.waitpid(self._pid, 0)

    def _tell(self, what: str, value: str) -> None:
        # A line for each; a name with a line's end in it could not be told.
        if "\n" not in value:
            with suppress(BrokenPipeError):  # somebody has killed it
                os.write(self._pipe, os.fsencode(f"{what} {value}\n"))
