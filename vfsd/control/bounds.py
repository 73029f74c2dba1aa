"""How large the parameters of the control socket's verbs may be; docs/CONTROL.md has the same.

Concurrency: immutable values.
"""

from __future__ import annotations

from vfsd.control.framing import DATA_LIMIT_BYTES
from vfsd.control.verb import PAGE_LIMIT

BATCH_LIMIT = 4096
"""Files in one `put` or `fetch`."""
PATH_LIMIT_BYTES = 1 << 16
XATTR_VALUE_LIMIT_BYTES = 1 << 16
"""Longest value of an extended attribute. Source: xattr(7), VFS limits."""

BOUNDS: dict[str, tuple[int, int]] = {
    "fd": (0, (1 << 31) - 1),
    "flags": (0, (1 << 31) - 1),
    "gid": (0, (1 << 32) - 2),
    "interval_ms": (10, 3_600_000),
    "limit": (1, PAGE_LIMIT),
    "mode": (0, 0o177777),
    "atime_ns": (-(1 << 63), (1 << 63) - 1),
    "mtime_ns": (-(1 << 63), (1 << 63) - 1),
    "offset": (0, (1 << 63) - 1),
    "rdev": (0, (1 << 64) - 1),
    "size": (0, (1 << 63) - 1),
    "uid": (0, (1 << 32) - 2),
}
"""Least and greatest value of integer parameters, by name. Reading is cut to a message's load."""

LENGTHS: dict[str, int] = {
    "data": DATA_LIMIT_BYTES,
    "entries": BATCH_LIMIT,
    "names": BATCH_LIMIT,
    "options": 256,
    "path": PATH_LIMIT_BYTES,
    "prefix": PATH_LIMIT_BYTES,
    "at": PATH_LIMIT_BYTES,
    "source": PATH_LIMIT_BYTES,
    "target": PATH_LIMIT_BYTES,
    "value": XATTR_VALUE_LIMIT_BYTES,
    "versions": 64,
}
"""Greatest length of parameters, by name: bytes, characters or items."""
