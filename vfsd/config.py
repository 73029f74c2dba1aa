"""What to mount and how: frozen values made from the command line and a configuration file.

What it is *not*: reading a file (vfsd/configfile), or following a change of one
(vfsd/reloading.py).

Concurrency: immutable values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PERSIST_EVERY_S = 60.0
"""How often a tree that is kept over restarts is stored, if it changed."""


@dataclass(frozen=True, slots=True)
class Persist:
    """A tree that outlives the daemon: under which name, and how often it is stored."""

    name: str
    every_s: float = PERSIST_EVERY_S


@dataclass(frozen=True, slots=True)
class AttachConfig:
    """A provider that a configuration attaches."""

    prefix: bytes
    """Relative to the mountpoint, without leading or trailing slash."""
    source: str = "memory"
    options: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    persist: Persist | None = None


@dataclass(frozen=True, slots=True)
class MountConfig:
    """One daemon: its mountpoint, what is attached, and how requests are served."""

    mountpoint: str
    """Absolute and free of symlinks."""
    source: str = "memory"
    """The root provider: a provider's name, `name:source`, or a host path."""
    options: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    persist: Persist | None = None
    """Keep the root provider's tree over restarts."""
    attachments: tuple[AttachConfig, ...] = ()
    allow_other: bool = False
    xattrs: bool = True
    list_provenance: bool = False
    """List the virtual extended attributes (vfsd/provenance.py) as well."""
    meta: bool = True
    """Show the directory `.vfsd` at the root (vfsd/meta.py)."""
    hot_loop: bool = True
    """Serve with vfsd/fuse/servingloop.py; False: with pyfuse3's own loop."""
    poll_us: int = 50
    """Microseconds to poll for a next request before sleeping; 0 never polls."""
    log_level: str = "INFO"
    file: str | None = None
    """The configuration file that some of this came from."""
