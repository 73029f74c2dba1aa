"""How often functions of `os` are called: what must not grow is counted rather than timed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from vfsd.snapshots import hosttree, syscalls

NAMES = (
    *("open", "stat", "lstat", "rename", "mkdir", "scandir", "link", "unlink", "rmdir"),
    *("listxattr", "getxattr", "listdir"),
)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count calls by name while the context lasts."""
    calls: Counter[str] = Counter()
    plain = {name: getattr(os, name) for name in NAMES}
    beneath = syscalls.open_beneath

    def counting(name, call):
        def count(*args, **kwargs):
            calls[name] += 1
            return call(*args, **kwargs)

        return count

    try:
        for name, call in plain.items():
            setattr(os, name, counting(name, call))
        hosttree.open_beneath = counting("open_beneath", beneath)
        yield calls
    finally:
        for name, call in plain.items():
            setattr(os, name, call)
        hosttree.open_beneath = beneath
