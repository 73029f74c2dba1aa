"""How far the kernel reads ahead on the mount.

The kernel asks a FUSE mount for 128 KiB at a time. A cold sequential read of 1 GiB with 1 MiB
took 0.72 of the time and 0.65 of the daemon's CPU time (docs/PERFORMANCE.md). Only root may
change it, by way of sysfs; for others the default stays.

Source: Linux Documentation/ABI/testing/sysfs-class-bdi.
"""

from __future__ import annotations

import os
from contextlib import suppress

from vfsd.mountinfo import read

READ_AHEAD_KIB = 1024


def read_further_ahead(mountpoint: str) -> None:
    """Raise the read-ahead of the mount at `mountpoint`, if this user may."""
    place = os.fsencode(mountpoint)
    devices = [os.fsdecode(mount.device) for mount in read() if mount.mountpoint == place]
    if not devices:
        return
    with (
        suppress(OSError),  # not root, or /sys is closed: nothing but speed is lost
        open(f"/sys/class/bdi/{devices[-1]}/read_ahead_kb", "w") as setting,
    ):
        setting.write(str(READ_AHEAD_KIB))
