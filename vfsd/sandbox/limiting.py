"""What goes with a run to hold it to its limits, the way that holding.py chose.

Concurrency: attendants, see attendant.py.

Sources: proc_pid_statm(5); sched_setaffinity(2).
"""

from __future__ import annotations

import math
import os
import time

from vfsd.blocks import suppress
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.limits import MEMORY_EXCEEDED, Limits, shown_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vfsd.sandbox.attendant import Running
    from vfsd.sandbox.holding import Held

    Say = Callable[[str], None]

LOOK_S = 0.1
"""How often memory is looked at where no group holds it."""


def attendants(limits: Limits, held: Held, say: Say) -> list[Attendant]:
    """Return what holds a run to `limits`, the way `held` says; `say` tells of a run's end."""
    found: list[Attendant] = []
    if held.group is not None or held.prefix:
        found.append(Grouped(held, limits, say))
    if limits.memory_bytes is not None and held.by["memory"].endswith("looking"):
        found.append(MemoryWatch(limits.memory_bytes, say))
    if limits.cpus is not None and held.by["cpus"].startswith("the processors"):
        found.append(Processors(limits.cpus))
    if limits.timeout_s is not None:
        found.append(TimeLimit(limits.timeout_s, say))
    if limits.output_bytes is not None:
        from vfsd.sandbox.output import OutputLimit

        found.append(OutputLimit(limits.output_bytes, say))
    return found


class Grouped(Attendant):
    """The run is in a control group."""

    def __init__(self, held: Held, limits: Limits, say: Say) -> None:
        self._say = say
        self._group = held.group
        self._prefix = held.prefix
        self._limits = limits

    def words(self, status: int) -> Sequence[str]:
        """Start bwrap in the group that systemd makes."""
        return self._prefix

    def inside(self, init: int) -> None:
        """Move the sandbox into the group that we made; its command waits meanwhile."""
        if self._group is not None:
            with suppress(ProcessLookupError):
                self._group.admit(init)
            for pid in children(init):
                with suppress(ProcessLookupError):
                    self._group.admit(pid)

    def ended(self, code: int) -> int:
        """Say whether memory was used up, and remove the group."""
        if self._group is not None:
            if self._group.killed_for_memory():
                self._say(_memory_used_up(self._limits.memory_bytes or 0))
            self._group.remove()
        return code

    def abandoned(self) -> None:
        """Remove the group where the run never came to its end."""
        if self._group is not None:
            self._group.remove()


class MemoryWatch(Attendant):
    """Ends a run whose processes together use too much memory."""

    def __init__(self, limit_bytes: int, say: Say) -> None:
        self._say = say
        self._limit_bytes = limit_bytes
        self._run: Running | None = None
        self._init: int | None = None
        self._next_s: float | None = None
        self._exceeded = False

    def started(self, run: Running, bwrap: int) -> None:
        """Keep the run."""
        self._run = run

    def inside(self, init: int) -> None:
        """Look from now on."""
        self._init = init
        self._next_s = time.monotonic()

    def deadline_s(self) -> float | None:
        """Return when to look."""
        return self._next_s

    def due(self) -> None:
        """Look."""
        self._next_s = time.monotonic() + LOOK_S
        if self._init is not None and used_bytes(self._init) > self._limit_bytes:
            self._exceeded, self._next_s = True, None
            if self._run is not None:
                self._run.kill(MEMORY_EXCEEDED)

    def ended(self, code: int) -> int:
        """Say why."""
        if self._exceeded:
            self._say(_memory_used_up(self._limit_bytes))
        return code


class Processors(Attendant):
    """The run may use some of the processors only."""

    def __init__(self, cpus: float) -> None:
        self._count = math.ceil(cpus)

    def inside(self, init: int) -> None:
        """Set the mask of what there is; the command inherits it."""
        allowed = sorted(os.sched_getaffinity(0))[: self._count]
        for pid in (init, *children(init)):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(pid, allowed)


class TimeLimit(Attendant):
    """Ends a run that takes too long."""

    def __init__(self, timeout_s: float, say: Say) -> None:
        self._say = say
        self._timeout_s = timeout_s
        self._run: Running | None = None
        self._at_s: float | None = None
        self._over = False

    def started(self, run: Running, bwrap: int) -> None:
        """The time starts."""
        self._run = run
        self._at_s = time.monotonic() + self._timeout_s

    def deadline_s(self) -> float | None:
        """Return when it is over."""
        return self._at_s

    def due(self) -> None:
        """It is over."""
        self._at_s, self._over = None, True
        if self._run is not None:
            self._run.end(ExitCode.RUN_TIMEOUT)

    def ended(self, code: int) -> int:
        """Say why."""
        if self._over:
            self._say(f"the command took longer than {self._timeout_s:g} s and was ended")
        return code


def children(pid: int) -> list[int]:
    """Return the processes that `pid` is the parent of."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as listed:
            return [int(word) for word in listed.read().split()]
    except OSError:
        return []


def used_bytes(init: int) -> int:
    """Return the memory that the processes of a sandbox have for themselves."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return page_bytes * sum(_private_pages(pid) for pid in _below(init))


def _private_pages(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            _, resident, shared = map(int, statm.read().split()[:3])
    except OSError:
        return 0
    return resident - shared


def _below(init: int) -> Iterator[int]:
    # A thread can be a parent as well as a process.
    waiting = [init]
    while waiting:
        pid = waiting.pop()
        yield pid
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as below:
                    waiting += map(int, below.read().split())


def _memory_used_up(limit_bytes: int) -> str:
    return f"the command used up its {shown_size(limit_bytes)} of memory"
