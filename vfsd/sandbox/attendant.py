"""What goes with a run: told of its stages, and part of its one loop.

The runner knows nothing of time limits, ports or layers; whatever has to happen before, while
and after a command runs is an `Attendant`. Methods that are not overridden do nothing.

Concurrency: all methods are called by the one thread of runner.py and must not block for longer
than a keystroke may wait.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    class Running(Protocol):
        """The run, as an attendant may steer it."""

        def end(self, code: int | None = None) -> None:
            """Send SIGTERM, and SIGKILL after the grace; `code` is then the run's exit code."""

        def kill(self, code: int | None = None) -> None:
            """Kill everything at once, likewise."""


class Attendant:
    """See the module."""

    def words(self, status: int) -> Sequence[str]:
        """Return words to put before bwrap: a program that does something and starts the rest.

        `status` is the fd on which bwrap will tell its status.
        """
        return ()

    def streams(self) -> Mapping[int, int]:
        """Return fds for the command to have as its standard streams instead of ours."""
        return {}

    def started(self, run: Running, bwrap: int) -> None:
        """bwrap (or what `words` put before it) has this pid."""

    def inside(self, init: int) -> None:
        """The sandbox stands, and its first process has this pid; the command waits meanwhile."""

    def interests(self) -> Mapping[int, int]:
        """Return the fds to poll, and for what."""
        return {}

    def pump(self, ready: Mapping[int, int]) -> None:
        """Look at those fds that are ready; called at every turn of the loop."""

    def deadline_s(self) -> float | None:
        """Return when to call `due`, by time.monotonic()."""
        return None

    def due(self) -> None:
        """The deadline has come. It must have moved afterwards."""

    def ended(self, code: int) -> int:
        """Every process of the sandbox is gone; return the exit code, usually this one."""
        return code

    def abandoned(self) -> None:
        """The run failed before its end: give back what was taken."""
