"""What to mount and how: frozen values made from the command line.

Concurrency: immutable values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MountConfig:
    """One daemon: its mountpoint, the root provider, and how requests are served."""

    mountpoint: str
    """Absolute and free of symlinks."""
    source: str = "memory"
    """The root provider: a provider's name, `name:source`, or a host path."""
    options: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    allow_other: bool = False
    xattrs: bool = True
    hot_loop: bool = True
    """Serve with vfsd/fuse/servingloop.py; False: with pyfuse3's own loop."""
    poll_us: int = 50
    """Microseconds to poll for a next request before sleeping; 0 never polls."""
    log_level: str = "INFO"
