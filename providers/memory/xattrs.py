"""Extended attributes: in the namespaces that tmpfs has, within the kernel's limits.

Their names and values count against the byte quota, since nothing else bounds them. A file's
attributes are one dict that is replaced, never changed, at each call.

Concurrency: does not suspend; checks everything before it changes anything.

Source: xattr(7), <linux/limits.h>.
"""

from __future__ import annotations

import errno

from providers.memory.records import Record
from providers.memory.version import Version, now_ns
from vfsd.errors import fail

NAME_MAX = 255
VALUE_MAX = 64 * 1024
LIST_MAX = 64 * 1024
"""Bytes of all names of one file, each with a NUL: what listxattr(2) can give."""

CAPABILITY = b"security.capability"
"""What makes a program privileged; it falls when the file or its owner is changed."""

NAMESPACES = (b"user.", b"trusted.", b"security.")


def get(record: Record, name: bytes) -> bytes:
    """Return a value. ENODATA, EOPNOTSUPP for a namespace that is not kept."""
    if record.xattrs is not None and name in record.xattrs:
        return record.xattrs[name]
    _check_name(name)
    raise fail(errno.ENODATA)


def put(version: Version, number: int, name: bytes, value: bytes) -> None:
    """Set or replace a value. EROFS, EOPNOTSUPP, ERANGE, E2BIG, ENOSPC."""
    version.check_writable()
    _check_name(name)
    if len(value) > VALUE_MAX:
        raise fail(errno.E2BIG)
    old = version.find(number).xattrs or {}
    growth = len(value)
    if name in old:
        growth -= len(old[name])
    else:
        growth += len(name)
        if sum(len(each) + 1 for each in old) + len(name) + 1 > LIST_MAX:
            raise fail(errno.ENOSPC)
    if growth > version.room_bytes:
        raise fail(errno.ENOSPC)
    record = version.own(number)
    record.xattrs = {**old, name: value}
    record.ctime_ns = now_ns()
    version.used_bytes += growth


def remove(version: Version, number: int, name: bytes) -> None:
    """Remove an attribute. EROFS, ENODATA, EOPNOTSUPP."""
    version.check_writable()
    value = get(version.find(number), name)
    record = version.own(number)
    assert record.xattrs is not None
    record.xattrs = {each: kept for each, kept in record.xattrs.items() if each != name} or None
    record.ctime_ns = now_ns()
    version.used_bytes -= len(name) + len(value)


def drop_capability(version: Version, number: int) -> None:
    """Remove the file's capabilities, as the kernel does where it keeps the files itself."""
    attributes = version.find(number).xattrs
    if attributes is not None and CAPABILITY in attributes:
        remove(version, number, CAPABILITY)


def _check_name(name: bytes) -> None:
    if not name or len(name) > NAME_MAX:
        raise fail(errno.ERANGE)
    if not name.startswith(NAMESPACES):
        raise fail(errno.EOPNOTSUPP)
    if name in NAMESPACES:
        raise fail(errno.EINVAL)
