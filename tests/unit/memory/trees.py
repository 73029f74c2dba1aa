"""What these tests do all the time: reach files by path, and check the books of a tree."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager

import pytest

from providers.memory import MemoryProvider, names
from providers.memory.records import Directory, File
from vfsd.provider import Entry, Identity, Node, Provider

ADMIN = Identity(0, 0)
USER = Identity(1000, 1000)


@contextmanager
def raises(code: int):
    """Expect an OSError with exactly this errno."""
    with pytest.raises(OSError) as caught:
        yield
    found = errno.errorcode.get(caught.value.errno or 0, str(caught.value.errno))
    assert found == errno.errorcode[code]


async def find(provider: Provider, path: bytes) -> Entry:
    node = provider.root
    entry = Entry(node, await provider.getattr(node))
    for name in path.split(b"/") if path else ():
        entry = await provider.lookup(entry.node, name)
    return entry


async def parent_of(provider: Provider, path: bytes) -> tuple[Node, bytes]:
    above, _, name = path.rpartition(b"/")
    return (await find(provider, above)).node, name


async def put(
    provider: Provider, path: bytes, data: bytes = b"", mode: int = 0o644, caller: Identity = ADMIN
) -> Node:
    """Write a file, in place of the one that is there."""
    parent, name = await parent_of(provider, path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    entry, handle = await provider.create(parent, name, mode, flags, caller)
    if data:
        assert await handle.write(0, data) == len(data)
    await handle.release()
    return entry.node


async def get(provider: Provider, path: bytes) -> bytes:
    handle = await provider.open((await find(provider, path)).node, os.O_RDONLY, ADMIN)
    try:
        size = (await handle.getattr()).size
        return bytes(await handle.read(0, size + 1))
    finally:
        await handle.release()


async def open_at(provider: Provider, path: bytes, flags: int, caller: Identity = ADMIN):
    return await provider.open((await find(provider, path)).node, flags, caller)


async def mkdir(provider: Provider, path: bytes, mode: int = 0o755) -> Node:
    parent, name = await parent_of(provider, path)
    return (await provider.mkdir(parent, name, mode, ADMIN)).node


async def unlink(provider: Provider, path: bytes) -> None:
    await provider.unlink(*await parent_of(provider, path))


async def rename(provider: Provider, source: bytes, target: bytes, flags: int = 0) -> None:
    parent, name = await parent_of(provider, source)
    new_parent, new_name = await parent_of(provider, target)
    await provider.rename(parent, name, new_parent, new_name, flags)


async def walk(provider: Provider) -> dict[bytes, tuple[int, object]]:
    """Return all of a tree: per path the number, and a file's data or a directory's names."""
    found: dict[bytes, tuple[int, object]] = {}
    paths = [b""]
    while paths:
        path = paths.pop()
        entry = await find(provider, path)
        content: object
        if stat.S_ISDIR(entry.stat.mode):
            content = sorted(await provider.readdir(entry.node))
            paths += [path + b"/" + name if path else name for name in content]
        else:
            content = await get(provider, path)
        found[path] = entry.node.number, content
    return found


def check_books(provider: MemoryProvider) -> None:
    """Count everything anew and compare with what the tree has kept count of."""
    version = provider._version
    links: dict[int, int] = {}
    used = chunks = lazy = 0
    for number, record in version.records.items():
        if type(record) is Directory:
            listed = list(names.items(record.names))
            assert len(listed) == record.count
            below = 0
            for _, child in listed:
                links[child] = links.get(child, 0) + 1
                below += type(version.find(child)) is Directory
            assert record.nlink in (2 + below, 0), f"directory {number}"
            assert bool(record.nlink) == (number not in version.nameless)
            lazy += record.population is not None
        if type(record) is File:
            used += record.content.charged_bytes
            chunks += record.content.chunk_count
        used += sum(len(name) + len(value) for name, value in (record.xattrs or {}).items())
    for number, record in version.records.items():
        if type(record) is Directory:
            assert links.get(number, 0) == (number != 1 and number not in version.nameless)
        else:
            assert record.nlink == links.get(number, 0), f"file {number}"
            assert record.nlink or number in version.nameless
    assert (version.used_bytes, version.chunk_count) == (used, chunks)
    assert version.lazy_directories == lazy
    assert version.records.count == sum(1 for _ in version.records.items())
