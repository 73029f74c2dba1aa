"""Descriptions of trees: what a factory is asked to put into a fresh provider.

A read-only provider (an archive, a view of something) is made *with* its files, so checks
describe them. A writable one is filled through the contract itself, with `fill`.

Concurrency: immutable values; `fill` is for a provider that nobody else uses yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vfsd.provider import Entry, Identity, Node, Provider, SetAttr

FILLER = Identity(0, 0)
"""Who owns what `fill` makes."""


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; `mtime_ns` None leaves the time to the provider."""

    data: bytes = b""
    mode: int = 0o644
    mtime_ns: int | None = None
    xattrs: Mapping[bytes, bytes] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory; parents that a description does not name are made with mode 0o755."""

    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symlink with `target` as stored."""

    target: bytes


@dataclass(frozen=True, slots=True)
class HardLink:
    """Another name of the file at the path `of`, which the description names before it."""

    of: bytes


Contents = Mapping[bytes, File | Directory | Symlink | HardLink]
"""Items by path relative to the root, without leading slash; parents before children."""


async def fill(provider: Provider, contents: Contents) -> None:
    """Put `contents` into an empty writable provider, through the contract."""
    nodes: dict[bytes, Node] = {b"": provider.root}
    for path, item in contents.items():
        parent = await _directory(provider, nodes, os.path.dirname(path))
        name = os.path.basename(path)
        match item:
            case Directory(mode):
                entry = await provider.mkdir(parent, name, mode, FILLER)
            case Symlink(target):
                entry = await provider.symlink(parent, name, target, FILLER)
            case HardLink(of):
                entry = await provider.link(nodes[of], parent, name)
            case File():
                entry = await _file(provider, parent, name, item)
        nodes[path] = entry.node


async def _directory(provider: Provider, nodes: dict[bytes, Node], path: bytes) -> Node:
    if path not in nodes:
        parent = await _directory(provider, nodes, os.path.dirname(path))
        entry = await provider.mkdir(parent, os.path.basename(path), 0o755, FILLER)
        nodes[path] = entry.node
    return nodes[path]


async def _file(provider: Provider, parent: Node, name: bytes, item: File) -> Entry:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    entry, handle = await provider.create(parent, name, item.mode, flags, FILLER)
    try:
        written = 0
        while written < len(item.data):
            written += await handle.write(written, item.data[written : written + (1 << 17)])
    finally:
        await handle.release()
    for key, value in item.xattrs.items():
        await provider.setxattr(entry.node, key, value)
    if item.mtime_ns is not None:
        await provider.setattr(entry.node, SetAttr(mtime_ns=item.mtime_ns), FILLER)
    return entry
