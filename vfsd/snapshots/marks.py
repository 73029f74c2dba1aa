"""The overlay's own marks in a layer: whiteouts, opaque directories, and what hides them.

A layer is a tree in the kernel's overlayfs format. A *whiteout* says that a name is gone: a
character device 0:0, or an empty regular file with the attribute `overlay.whiteout` in a
directory whose `overlay.opaque` is ``x``. An *opaque* directory (`overlay.opaque` is ``y``)
hides what the layers below have at its path. The attributes stand in the namespace ``user.``
(what vfsd writes, and what ordinary users can) or ``trusted.`` (what root's mounts write).

What it is *not*: the merging (layered.py). Concurrency: pure functions.

Source: Linux overlayfs.rst, "whiteouts and opaque directories"; fs/overlayfs/namei.c.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Iterable, Mapping

from vfsd.attributes import Stat
from vfsd.overlaynames import PREFIXES, shown, stored
from vfsd.overlaynames import is_mark as is_mark

OPAQUE = b"user.overlay.opaque"
WHITEOUT = b"user.overlay.whiteout"

OPAQUE_YES = b"y"
OPAQUE_HOLDS_WHITEOUTS = b"x"

_FOLLOWED = tuple(prefix + b"redirect" for prefix in PREFIXES)
_METACOPY = tuple(prefix + b"metacopy" for prefix in PREFIXES)


def as_seen(xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return a layer's attributes as its users see them.

    Attributes of theirs that are named like marks are stored with ``overlay.`` once more.
    """
    seen = ((shown(name), value) for name, value in xattrs.items())
    return {name: value for name, value in seen if name is not None}


def escaped(xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return what users see of attributes as a layer stores it: `as_seen` the other way."""
    return {stored(name): value for name, value in xattrs.items()}


def without_marks(xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the attributes that belong to the file."""
    return {name: value for name, value in xattrs.items() if not is_mark(name)}


def opacity(xattrs: Mapping[bytes, bytes]) -> bytes:
    """Return what the directory's mark says: ``y``, ``x``, or nothing."""
    for prefix in PREFIXES:
        value = xattrs.get(prefix + b"opaque", b"")
        if value in (OPAQUE_YES, OPAQUE_HOLDS_WHITEOUTS):
            return value
    return b""


def is_device_whiteout(stat: Stat) -> bool:
    """Say whether a file of a layer is a whiteout of the form that needs no attribute."""
    return stat_module.S_ISCHR(stat.mode) and stat.rdev == 0


def may_be_file_whiteout(stat: Stat) -> bool:
    """Say whether a file in a directory marked ``x`` has to be asked for the attribute."""
    return stat_module.S_ISREG(stat.mode) and stat.size == 0


def has_whiteout_mark(names: Iterable[bytes]) -> bool:
    """Say whether attributes with these names make an empty file a whiteout."""
    return any(prefix + b"whiteout" in names for prefix in PREFIXES)


def leads_elsewhere(names: Iterable[bytes]) -> bool:
    """Say whether the file's content or entries stand at another path of the layers below.

    The kernel writes such files only where `redirect_dir` or `metacopy` are on; with
    `userxattr` it refuses them, and so does every reader here.
    """
    return any(mark in names for mark in (*_FOLLOWED, *_METACOPY))
