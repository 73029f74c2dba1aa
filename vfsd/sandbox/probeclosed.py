"""Probes of what closes a sandbox and limits it: system calls, control groups, private places.

Concurrency: blocking, see gaps.py.

Sources: tmpfs(5), "user" extended attributes came with Linux 6.6; loginctl(1), enable-linger.
"""

from __future__ import annotations

import getpass
import os
import sys
import tempfile

from vfsd.errors import UserError
from vfsd.sandbox.cgroups import MOUNT, make, systemd_words
from vfsd.sandbox.gaps import Gap, as_root, attempt, install, upgrade
from vfsd.sandbox.libseccomp import SONAME
from vfsd.sandbox.limits import Limits
from vfsd.sandbox.seccomp import INSTRUCTION_BYTES, compiled

TRIED = Limits(memory_bytes=1 << 30, pids=100, cpus=1.0)


def filters() -> str:
    """Make the filters of system calls, and have the kernel load them."""
    try:
        made = compiled()
    except UserError as error:
        raise Gap(error.message.partition(";")[0], install("libseccomp2")) from None
    modes = "/proc/sys/kernel/seccomp/actions_avail"
    if not os.path.exists(modes):
        raise Gap("this kernel has no filters of system calls", as_root(upgrade()))
    count = sum(map(len, made)) // INSTRUCTION_BYTES
    return f"are filtered: {SONAME} made {count} instructions"


def tmpfs_xattrs() -> str:
    """Set an attribute on a tmpfs in a user namespace, where layers are kept."""
    script = (
        'mount -t tmpfs tmpfs "$1" && cd "$1" && exec "$2" -c '
        '\'import os; os.setxattr(".", "user.overlay.opaque", b"y")\''
    )
    with tempfile.TemporaryDirectory() as place:
        enter = ["unshare", "--user", "--map-root-user", "--mount"]
        tried = attempt([*enter, "sh", "-c", script, "sh", place, sys.executable])
    if tried:
        raise Gap(
            f"a tmpfs holds no layer in which directories are replaced: {tried}",
            as_root(upgrade()),
        )
    return "a tmpfs takes them in a user namespace"


def control_groups() -> str:
    """Make a group with all controllers that limits need, and remove it."""
    group = make(TRIED)
    if group is not None:
        group.remove()
        return f"version {group.version}: {', '.join(sorted(group.controllers))}"
    if systemd_words(TRIED, os.environ):
        return "version 2, made by the systemd of this user"
    why = "this user can make none, so --memory and --cpus are held less exactly"
    if os.geteuid() == 0:
        raise Gap(why, f"mount -o remount,rw {MOUNT}")
    if os.path.isdir("/run/systemd/system"):
        raise Gap(why, as_root(f"loginctl enable-linger {getpass.getuser()}"))
    raise Gap(why, as_root("vfsd run --memory 1G -- CMD"))
