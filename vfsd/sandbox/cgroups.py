"""A control group for one run, where this user may make one.

Three ways, in this order: a group made directly (version 2 of cgroups, then version 1), which
takes a directory that this user may write, as root has it; and a scope that the user's systemd
makes, which is how an ordinary user gets one.

What it is *not*: deciding what is limited and what else could hold it (holding.py).

Concurrency: short blocking calls. Moving the first process of a run into a group can take some
20 ms: the kernel waits until no process of the machine is in the middle of a fork.

A run that was killed leaves an empty group behind, as it leaves nobody to remove it; the next
run removes it.

Sources: Linux cgroup-v2.rst and cgroup-v1/memory.rst; cgroups(7); systemd-run(1),
systemd.resource-control(5).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from vfsd.sandbox.limits import Limits

MOUNT = "/sys/fs/cgroup"
PREFIX = "vfsd-run-"
PERIOD_US = 100_000
GONE_S = 2.0
SYSTEMD_RUN = "/usr/bin/systemd-run"
TRUE = "/usr/bin/true"

Settings = Mapping[str, Sequence[tuple[str, str]]]
"""For each controller, files to write and what to write to them; the first one must succeed."""


class Group(NamedTuple):
    """A group that has been made: a directory, or one for each controller."""

    version: int
    directories: tuple[str, ...]
    controllers: frozenset[str]

    def admit(self, pid: int) -> None:
        """Move a process into it; what it starts from now on is in it, too."""
        for directory in self.directories:
            _write(os.path.join(directory, "cgroup.procs"), str(pid))

    def killed_for_memory(self) -> int:
        """Return how many processes the kernel has ended because memory was used up."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        for directory in self.directories:
            with suppress(OSError), open(os.path.join(directory, name)) as events:
                for line in events:
                    key, _, number = line.partition(" ")
                    if key == "oom_kill":
                        return int(number)
        return 0

    def remove(self) -> None:
        """Take it away; its processes must have ended."""
        until_s = time.monotonic() + GONE_S
        for directory in self.directories:
            # The kernel lets a process out of its group a little after it was waited for.
            while not _removed(directory) and time.monotonic() < until_s:
                time.sleep(0.005)


def make(limits: Limits, mount: str = MOUNT, membership: str = "/proc/self/cgroup") -> Group | None:
    """Make a group that holds what it can of `limits`; None where this user cannot make one."""
    wanted = {*settings(limits, 2)}
    if not wanted:
        return None
    with open(membership) as table:
        own = dict(_membership(line) for line in table)
    return _version_2(limits, mount, own.get("", "/")) or _version_1(limits, mount, own)


def settings(limits: Limits, version: int) -> dict[str, list[tuple[str, str]]]:
    """Return what to write for `limits`."""
    asked: dict[str, list[tuple[str, str]]] = {}
    if limits.memory_bytes is not None:
        number = str(limits.memory_bytes)
        asked["memory"] = (
            [("memory.max", number), ("memory.swap.max", "0")]
            if version == 2
            else [("memory.limit_in_bytes", number), ("memory.memsw.limit_in_bytes", number)]
        )
    if limits.pids is not None:
        # And bwrap's own first process.
        asked["pids"] = [("pids.max", str(limits.pids + 1))]
    if limits.cpus is not None:
        quota = str(max(1000, round(limits.cpus * PERIOD_US)))
        asked["cpu"] = (
            [("cpu.max", f"{quota} {PERIOD_US}")]
            if version == 2
            else [("cpu.cfs_quota_us", quota), ("cpu.cfs_period_us", str(PERIOD_US))]
        )
    return asked


def systemd_words(limits: Limits, environment: Mapping[str, str]) -> list[str] | None:
    """Return what starts a program in a scope of the user's systemd; None where there is none."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    unified = os.path.exists(os.path.join(MOUNT, "cgroup.controllers"))
    if not (unified and runtime and os.path.exists(os.path.join(runtime, "systemd", "private"))):
        return None
    words = scope_words(limits, environment)
    return words if os.access(SYSTEMD_RUN, os.X_OK) and _starts([*words, TRUE]) else None


def _starts(words: list[str]) -> bool:
    """Say whether a scope can be made: who did not log in is in no group that systemd may use.

    To find out takes some 30 ms; not to, and the run would fail without a word.
    """
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    pid = os.posix_spawn(words[0], words, {}, file_actions=null)
    return os.waitpid(pid, 0)[1] == 0


def scope_words(limits: Limits, environment: Mapping[str, str]) -> list[str]:
    """Return the words, ending with those that give the program an empty environment again."""
    properties = []
    if limits.memory_bytes is not None:
        properties += [f"MemoryMax={limits.memory_bytes}", "MemorySwapMax=0"]
    if limits.pids is not None:
        # And bwrap, twice.
        properties.append(f"TasksMax={limits.pids + 2}")
    if limits.cpus is not None:
        properties.append(f"CPUQuota={max(1, round(limits.cpus * 100))}%")
    bus = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
    passing = [f"{name}={environment[name]}" for name in bus if name in environment]
    words = ["/usr/bin/env", "-i", *passing, SYSTEMD_RUN, "--user", "--scope", "--quiet"]
    words += ["--collect", *(f"--property={each}" for each in properties), "--"]
    return [*words, "/usr/bin/env", "-i"]


def sweep(parent: str) -> None:
    """Remove the empty groups of runs that were killed."""
    with suppress(OSError):
        for name in os.listdir(parent):
            pid = name.removeprefix(PREFIX)
            if pid != name and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                _removed(os.path.join(parent, name))


def _version_2(limits: Limits, mount: str, own: str) -> Group | None:
    for root in (mount, os.path.join(mount, "unified")):
        if not os.path.exists(os.path.join(root, "cgroup.controllers")):
            continue
        # Not below our own group: one with processes in it gives no controllers to groups below.
        beside = os.path.normpath(root + os.path.dirname(own))
        for parent in dict.fromkeys((root, beside)):
            group = _made_in(parent, limits)
            if group is not None:
                return group
    return None


def _made_in(parent: str, limits: Limits) -> Group | None:
    asked = settings(limits, 2)
    control = os.path.join(parent, "cgroup.subtree_control")
    with suppress(OSError):
        missing = {*asked} - {*_read(control).split()}
        if missing & {*_read(os.path.join(parent, "cgroup.controllers")).split()} != missing:
            return None
        if missing:
            _write(control, " ".join(f"+{each}" for each in sorted(missing)))
        sweep(parent)
        return _filled(2, [os.path.join(parent, f"{PREFIX}{os.getpid()}")], [asked])
    return None


def _version_1(limits: Limits, mount: str, own: Mapping[str, str]) -> Group | None:
    asked = settings(limits, 1)
    parents = []
    for controller in asked:
        path = next((at for names, at in own.items() if controller in names.split(",")), "/")
        parent = os.path.normpath(f"{mount}/{controller}/{path}")
        # In a container the path can be that of the host, which is not there.
        parents.append(parent if os.path.isdir(parent) else f"{mount}/{controller}")
    if not all(os.path.exists(os.path.join(each, "cgroup.procs")) for each in parents):
        return None
    for parent in parents:
        sweep(parent)
    directories = [os.path.join(each, f"{PREFIX}{os.getpid()}") for each in parents]
    with suppress(OSError):
        return _filled(1, directories, [{name: asked[name]} for name in asked])
    return None


def _filled(version: int, directories: Sequence[str], asked: Sequence[Settings]) -> Group:
    made: list[str] = []
    try:
        for directory, wanted in zip(directories, asked, strict=True):
            with suppress(FileExistsError):
                os.mkdir(directory)
            made.append(directory)
            for (name, value), *more in wanted.values():
                _write(os.path.join(directory, name), value)
                for other, text in more:
                    # Not every kernel counts swap.
                    with suppress(OSError):
                        _write(os.path.join(directory, other), text)
    except OSError:
        for directory in made:
            _removed(directory)
        raise
    controllers = frozenset(name for wanted in asked for name in wanted)
    return Group(version, tuple(made), controllers)


def _removed(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except OSError as error:
        return error.errno not in (errno.EBUSY, errno.ENOTEMPTY)
    return True


def _membership(line: str) -> tuple[str, str]:
    _, controllers, path = line.rstrip("\n").split(":", 2)
    return controllers, path


def _read(path: str) -> str:
    with open(path) as source:
        return source.read()


def _write(path: str, text: str) -> None:
    # One write: the kernel takes each as a command of its own.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
