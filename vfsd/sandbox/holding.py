"""Choosing what holds a run to its limits.

Memory, processes and processor time are held by a control group where there is one
(cgroups.py). Otherwise processes are counted by the kernel's resource limits, for the sandbox
alone, as it has a user namespace of its own; memory by a resource limit for each process and by
looking at all of them together, ten times a second; and the processors are those that a mask
allows. What cannot be held at all is refused, never left out.

What it is *not*: the numbers (limits.py), what goes with the run for it (limiting.py), or the
sizes of the private file systems, which are options of bwrap's (spec.py).

Concurrency: short blocking calls.

Sources: setrlimit(2), user_namespaces(7); kernel/fork.c, "INIT_USER", for why root's processes
are not counted.
"""

from __future__ import annotations

import os

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.named import NamedTuple
from vfsd.sandbox.limits import PIDS_DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vfsd.sandbox.cgroups import Group


class Held(NamedTuple):
    """How a run is held to its limits."""

    by: Mapping[str, str]
    """For each limit that was asked for, what holds it."""
    rlimits: tuple[tuple[str, int], ...] = ()
    """Resource limits of the command, by prlimit(1)'s names."""
    group: Group | None = None
    prefix: tuple[str, ...] = ()
    """What starts bwrap in a group."""

    def told(self) -> str:
        """Return how, in a few words."""
        ways: dict[str, list[str]] = {}
        for name, way in self.by.items():
            ways.setdefault(way, []).append(name)
        return "; ".join(f"{', '.join(names)} by {way}" for way, names in ways.items())


def hold(limits: Limits, caller: Mapping[str, str]) -> Held:
    """Choose what holds each of `limits`. UserError (125) where nothing can."""
    counted = Limits(limits.memory_bytes, limits.pids, limits.cpus)
    group: Group | None = None
    prefix: Sequence[str] = ()
    if counted != Limits():
        # Imported here: most runs have none of these.
        from vfsd.sandbox.cgroups import make, systemd_words

        group = make(counted)
        prefix = () if group else systemd_words(counted, caller) or ()
    if group is not None:
        way, grouped = f"cgroup v{group.version}", group.controllers
    else:
        way, grouped = "systemd's cgroup v2", frozenset(("memory", "pids", "cpu") if prefix else ())
    by: dict[str, str] = {}
    rlimits: list[tuple[str, int]] = []
    if limits.memory_bytes is not None:
        by["memory"] = way if "memory" in grouped else "resource limits and looking"
        if "memory" not in grouped:
            rlimits.append(("data", limits.memory_bytes))
    if limits.pids is not None:
        by["pids"] = way if "pids" in grouped else "resource limits"
        if "pids" not in grouped:
            rlimits.append(_process_limit(limits.pids))
    elif os.getuid() != 0:
        rlimits.append(_process_limit(PIDS_DEFAULT))
    if limits.cpus is not None:
        by["cpus"] = way if "cpu" in grouped else "the processors it may use"
    if limits.fsize_bytes is not None:
        by["fsize"] = "resource limits"
        rlimits.append(("fsize", limits.fsize_bytes))
    return Held(by, tuple(rlimits), group, tuple(prefix))


def _process_limit(pids: int) -> tuple[str, int]:
    if os.getuid() == 0:
        raise UserError(
            "--pids cannot be held here: the kernel does not count root's processes, and no"
            f" control group can be made in /sys/fs/cgroup (asked for {pids}); run as an ordinary"
            " user, or mount cgroups writable",
            ExitCode.RUN_FAILED,
        )
    # And bwrap's own first process.
    return ("nproc", pids + 1)
