"""Which systems are measured: vfsd, the kernel's own, and the peers that apt and pip give.

Each is run as its users get it: default options, in the foreground, its backing directories
on tmpfs. Peers that pip gives come from downloads.py; starting and stopping is in systems.py.

Concurrency: a constant table.
Sources: fuse-overlayfs(1), bindfs(1), unionfs(8), overlayfs.rst.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from types import MappingProxyType

import downloads
from systems import Asked, Site, System


def choose(names: str | None, *, full: bool = False) -> tuple[System, ...]:
    """Return the systems in the comma-separated `names`; KeyError for a wrong name.

    None: all that need not be asked for, which `full` does for the slow ones.
    """
    if names is None:
        wanted = {Asked.ALWAYS, Asked.IN_FULL} if full else {Asked.ALWAYS}
        return tuple(system for system in SYSTEMS if system.asked in wanted)
    known = {system.name: system for system in SYSTEMS}
    return tuple(known[name] for name in names.split(","))


def _never_missing() -> str | None:
    return None


def _needs_tool(tool: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(tool) else f"{tool} is not installed"


def _needs_root() -> str | None:
    return None if os.geteuid() == 0 else "only root may mount it"


def _bindfs_user() -> list[str]:
    # It asks for allow_other by default, which an ordinary user seldom may.
    return [] if os.geteuid() == 0 else ["--no-allow-other"]


def _layers(site: Site) -> str:
    return f"lowerdir={site.lower},upperdir={site.upper},workdir={site.work}"


def _vfsd(name: str, *options: str) -> System:
    """Return vfsd's memory provider; with mount `options` it is a variant."""
    command = [sys.executable, "-m", "vfsd", "mount", "--foreground", *options]
    return System(
        name,
        "vfsd",
        _never_missing,
        lambda site: [*command, str(site.mountpoint)],
        asked=Asked.BY_NAME if options else Asked.ALWAYS,
    )


def _vfsd_passthrough() -> System:
    """Return vfsd's passthrough provider over a directory on tmpfs, as bindfs has it."""
    command = [sys.executable, "-m", "vfsd", "mount", "--foreground"]
    return System(
        "vfsd-passthrough",
        "vfsd",
        _never_missing,
        lambda site: [*command, str(site.mountpoint), f"passthrough:{site.upper}"],
    )


def _vfsd_overlay(name: str, upper: Callable[[Site], str]) -> System:
    """Return vfsd's overlay over a directory on tmpfs, with an upper in memory or on tmpfs."""
    command = [sys.executable, "-m", "vfsd", "mount", "--foreground"]
    return System(
        name,
        "vfsd",
        _never_missing,
        lambda site: [
            *(*command, str(site.mountpoint), "overlay"),
            *("-o", f"lower={site.lower}", "-o", f"upper={upper(site)}"),
        ],
        layered=True,
    )


BIG_ROWS = ("write-seq", "read-seq-cold", "read-seq-warm", "read-random", "write-random")

SYSTEMS = (
    System("tmpfs", "kernel", _never_missing),
    System(
        "overlayfs",
        "kernel",
        _needs_root,
        mount_kernel=lambda site: [
            *("mount", "-t", "overlay", "overlay", "-o", _layers(site)),
            str(site.mountpoint),
        ],
        layered=True,
    ),
    _vfsd("vfsd"),
    _vfsd_passthrough(),
    _vfsd_overlay("vfsd-overlay", lambda _site: "memory"),
    _vfsd_overlay("vfsd-overlay-dir", lambda site: str(site.upper)),
    _vfsd("vfsd-stock-loop", "--loop=stock"),
    _vfsd("vfsd-no-poll", "--poll-us=0"),
    _vfsd("vfsd-no-xattrs", "--no-xattrs"),
    System(
        "fuse-overlayfs",
        "C",
        _needs_tool("fuse-overlayfs"),
        lambda site: ["fuse-overlayfs", "-f", "-o", _layers(site), str(site.mountpoint)],
        layered=True,
    ),
    System(
        "bindfs",
        "C",
        _needs_tool("bindfs"),
        lambda site: ["bindfs", "-f", *_bindfs_user(), str(site.upper), str(site.mountpoint)],
    ),
    System(
        "unionfs-fuse",
        "C",
        _needs_tool("unionfs"),
        lambda site: [
            *("unionfs", "-f", "-o", "cow", f"{site.upper}=RW:{site.lower}=RO"),
            str(site.mountpoint),
        ],
        layered=True,
    ),
    System(
        "ratarmount",
        "Python",
        downloads.ratarmount_missing,
        lambda site: downloads.ratarmount_command(site.upper, site.lower, site.mountpoint),
        layered=True,
    ),
    System(
        "pyfuse3-example",
        "Python",
        downloads.example_missing,
        lambda site: downloads.example_command(site.mountpoint),
        asked=Asked.IN_FULL,
        excluded=MappingProxyType(
            dict.fromkeys(
                BIG_ROWS,
                "rewrites the whole file at each write",
            )
        ),
    ),
)
