"""All checks by name, in the order of the areas.

Concurrency: an immutable table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vfsd.conformance.areas import (
    atomicity,
    attributes,
    copies,
    creating,
    data,
    links,
    looking,
    names,
    readonly,
    removal,
    renaming,
    room,
    symlinks,
    times,
    versions,
    xattrs,
)
from vfsd.conformance.check import Check
from vfsd.conformance.model import MODEL

_AREAS = (
    looking,
    names,
    creating,
    data,
    attributes,
    times,
    symlinks,
    links,
    removal,
    renaming,
    xattrs,
    room,
    copies,
    readonly,
    versions,
    atomicity,
)


def _collect() -> Mapping[str, Check]:
    checks: dict[str, Check] = {}
    for each in [item for area in _AREAS for item in vars(area).values()] + list(MODEL):
        if isinstance(each, Check):
            if each.name in checks:
                raise ValueError(f"two checks are named {each.name}")
            checks[each.name] = each
    return MappingProxyType(checks)


CHECKS = _collect()
