"""The kernel's table of mounts, as this process sees it: the one reader of mountinfo.

What it is *not*: which of the mounts a vfsd daemon answers for (vfsd/runtime.py), or may be
worked on in the event loop (providers/passthrough/backing.py).

Concurrency: `read` is one short blocking call into /proc; it never touches what is mounted.
Start-up of `vfsd run` imports this, so it imports nothing that costs time.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os

from vfsd.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Mounted(NamedTuple):
    """One line of the table; `device` is "major:minor", `options` those of the super block."""

    id: int
    parent: int
    device: bytes
    mountpoint: bytes
    kind: bytes
    source: bytes
    options: bytes


def read() -> list[Mounted]:
    """Return the mounts of this mount namespace, an outer one before those on it."""
    with open(table(), "rb") as source:  # as bytes: a name may hold a "\r"
        return parse(source.read())


def table() -> int:
    """Open the table and return its fd, which polls for POLLPRI once mounts have changed."""
    return os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)


def parse(text: bytes) -> list[Mounted]:
    """Return the mounts in the text of a mountinfo file. Odd lines are passed over."""
    found = []
    for line in text.split(b"\n"):
        # No field before the separator is a lone "-", but a mountpoint may hold anything else.
        fields, _, tail = line.partition(b" - ")
        before, after = fields.split(b" "), tail.split(b" ")
        if len(before) < 6 or len(after) < 3 or not before[0].isdigit() or not before[1].isdigit():
            continue
        found.append(
            Mounted(
                *(int(before[0]), int(before[1]), before[2], unescape(before[4])),
                *(after[0], unescape(after[1]), after[2]),
            )
        )
    return found


def showing(mounts: Sequence[Mounted], path: bytes) -> Mounted | None:
    """Return the mount that shows the absolute `path`, which holds no symlinks.

    From the root down, since a mount may lie hidden below one made later on a directory above.
    """
    listed = {mount.id for mount in mounts}
    shown, here = None, [mount for mount in mounts if mount.parent not in listed - {mount.id}]
    while above := [mount for mount in here if at_or_below(path, mount.mountpoint)]:
        # The way to `path` meets the shortest first; of several at one place the last one shows.
        shown = min(reversed(above), key=lambda mount: len(mount.mountpoint))
        here = [mount for mount in mounts if mount.parent == shown.id != mount.id]
    return shown


def at_or_below(path: bytes, ancestor: bytes) -> bool:
    """Say whether one absolute path is the other or lies below it."""
    return path == ancestor or path.startswith(ancestor.rstrip(b"/") + b"/")


def unescape(field: bytes) -> bytes:
    """Return a field as it was: space, tab, newline, "#" and backslash are octal digits."""
    first, *rest = field.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)
