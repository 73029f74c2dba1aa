"""The names of the overlay's own extended attributes, and how a user's of such a name are kept.

The kernel's overlayfs marks a layer by attributes in ``user.overlay.`` (a mount with `userxattr`)
or ``trusted.overlay.``. One that a user gave such a name is stored with ``overlay.`` once more, so
that it is never taken for a mark.

What it is *not*: what the marks mean (vfsd/snapshots/marks.py, providers/overlay/marks.py).

Concurrency: pure functions.

Source: Linux overlayfs.rst, "nesting overlayfs mounts"; fs/overlayfs/xattrs.c.
"""

from __future__ import annotations

PREFIXES = (b"user.overlay.", b"trusted.overlay.")
ESCAPE = b"overlay."


def is_mark(name: bytes) -> bool:
    """Say whether an extended attribute is the overlay's own, and not one that was escaped."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return not name.startswith(ESCAPE, len(prefix))
    return False


def stored(name: bytes) -> bytes:
    """Return the name under which a user's attribute is kept."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return prefix + ESCAPE + name[len(prefix) :]
    return name


def shown(name: bytes) -> bytes | None:
    """Return the name that users see, None for a mark."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            return prefix + rest[len(ESCAPE) :] if rest.startswith(ESCAPE) else None
    return name
