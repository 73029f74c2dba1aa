"""The table that both clients share: what is asked, and what its answer becomes.

A `Call` is one request and the function that checks its reply. vfsd/client.py waits for the
reply in the thread, vfsd/aclient.py in its task; neither knows a verb's parameters. Work made
of several requests is a generator of calls (`Steps`), which gets each reply sent in.

Paths are given as a person would: str, bytes or path-like, relative to where the client was
connected, or to the tree's root with a leading slash.

Concurrency: immutable values and pure functions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vfsd.attributes import StatFs
from vfsd.control import (
    batchverbs,
    fileverbs,
    pathverbs,
    protocol,
    replies,
    snapshotverbs,
    streamverbs,
)
from vfsd.control.batchverbs import PutEntry
from vfsd.control.framing import Request
from vfsd.control.validation import render
from vfsd.control.verb import PAGE_LIMIT, Verb

T = TypeVar("T")
R = TypeVar("R")
AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Steps = Generator["Call[Any]", Any, R]
"""Several calls in a row: yields each, is sent its checked reply, returns a result."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and what its reply becomes."""

    verb: Verb
    convert: Callable[[object], T]

    def request(self, number: int) -> Request:
        """Return the request to send."""
        name, parameters = render(self.verb)
        return Request(number, name, parameters)


def place(base: bytes, path: AnyPath) -> bytes:
    """Return `path` in the tree, for a client that stands at `base`."""
    text = os.fsencode(path)
    return text if text.startswith(b"/") else base + b"/" + text


def hello() -> Call[replies.Greeting]:
    return Call(protocol.Hello(protocol.VERSIONS), replies.greeting)


def status() -> Call[dict[str, Any]]:
    return Call(protocol.Status(), json_object)


def json_object(value: object) -> dict[str, Any]:
    """Return the object that a reply of JSON text is."""
    try:
        found = json.loads(replies.text(value))
    except (ValueError, RecursionError) as error:
        raise replies.ReplyError("no object") from error
    if not isinstance(found, dict):
        raise replies.ReplyError("no object")
    return found


def stop() -> Call[None]:
    return Call(protocol.Stop(), replies.nothing)


def attach(
    prefix: bytes, source: AnyPath, options: Mapping[str, str], *, read_only: bool
) -> Call[replies.Attached]:
    coded = {os.fsencode(key): os.fsencode(value) for key, value in options.items()}
    return Call(protocol.Attach(prefix, os.fsencode(source), coded, read_only), replies.attached)


def detach(prefix: bytes, *, lazy: bool) -> Call[None]:
    return Call(protocol.Detach(prefix, lazy), replies.nothing)


def snapshot(prefix: bytes, at: bytes) -> Call[replies.Attached]:
    return Call(snapshotverbs.Snapshot(prefix, at), replies.attached)


def fork(prefix: bytes, at: bytes) -> Call[replies.Attached]:
    return Call(snapshotverbs.Fork(prefix, at), replies.attached)


def create_snapshot(name: str, prefix: bytes, *, replace: bool) -> Call[replies.SnapshotInfo]:
    verb = snapshotverbs.CreateSnapshot(os.fsencode(name), prefix, replace)
    return Call(verb, replies.snapshot_info)


def store_snapshot(name: str, prefix: bytes, *, replace: bool) -> Call[replies.StoredInfo]:
    verb = snapshotverbs.StoreSnapshot(os.fsencode(name), prefix, replace)
    return Call(verb, replies.stored_info)


def list_snapshots() -> Steps[list[replies.SnapshotInfo]]:
    """List all live snapshots, page by page."""
    found: list[replies.SnapshotInfo] = []
    after: bytes | None = b""
    while after is not None:
        page = yield Call(snapshotverbs.ListSnapshots(after), replies.snapshot_page)
        found += page.snapshots
        if page.after is not None and page.after <= after:
            raise replies.ReplyError("a listing that does not go on")
        after = page.after
    return found


def show_snapshot(name: str) -> Call[replies.SnapshotInfo]:
    return Call(snapshotverbs.ShowSnapshot(os.fsencode(name)), replies.snapshot_info)


def remove_snapshot(name: str) -> Call[None]:
    return Call(snapshotverbs.RemoveSnapshot(os.fsencode(name)), replies.nothing)


def attach_snapshot(name: str, at: bytes) -> Call[replies.Attached]:
    return Call(snapshotverbs.AttachSnapshot(os.fsencode(name), at), replies.attached)


def fork_snapshot(name: str, at: bytes) -> Call[replies.Attached]:
    return Call(snapshotverbs.ForkSnapshot(os.fsencode(name), at), replies.attached)


def watch(prefix: bytes) -> Call[list[replies.Event]]:
    return Call(streamverbs.Watch(prefix), replies.events)


def top(interval_ms: int) -> Call[dict[str, Any]]:
    return Call(streamverbs.Top(interval_ms), json_object)


def stat(path: bytes, *, follow: bool) -> Call[replies.FileInfo]:
    return Call(pathverbs.StatFile(path, follow), replies.file_info)


def list_page(path: bytes, after: bytes = b"", limit: int = PAGE_LIMIT) -> Call[replies.Page]:
    return Call(pathverbs.ListDirectory(path, after, limit), replies.page)


def list_all(path: bytes) -> Steps[list[tuple[bytes, replies.FileInfo]]]:
    """Return all entries of a directory, sorted by name."""
    entries: list[tuple[bytes, replies.FileInfo]] = []
    after: bytes | None = b""
    while after is not None:
        page: replies.Page = yield list_page(path, after)
        if page.after is not None and page.after <= after:
            raise replies.ReplyError("a listing that does not go on")
        entries += page.entries
        after = page.after
    return entries


def readlink(path: bytes) -> Call[bytes]:
    return Call(pathverbs.ReadLink(path), replies.data)


def statfs(path: bytes) -> Call[StatFs]:
    def convert(value: object) -> StatFs:
        found = replies.numbers(value)
        if len(found) != len(StatFs._fields):
            raise replies.ReplyError("no room")
        return StatFs(*found)

    return Call(pathverbs.StatFilesystem(path), convert)


def read_file(path: bytes) -> Call[bytes]:
    return Call(pathverbs.ReadFile(path), replies.data)


def write_file(path: bytes, data: bytes, mode: int) -> Call[None]:
    return Call(pathverbs.WriteFile(path, data, mode), replies.nothing)


def open_file(path: bytes, flags: int, mode: int) -> Call[tuple[int, replies.FileInfo]]:
    return Call(fileverbs.Open(path, flags, mode), replies.opened)


def stage(at: bytes, path: bytes) -> Call[int]:
    return Call(batchverbs.Stage(at, path), replies.number)


def commit(
    fd: int, name: bytes, mode: int, mtime_ns: int | None, *, keep: bool = False
) -> Call[None]:
    return Call(batchverbs.Commit(fd, name, mode, mtime_ns, keep), replies.nothing)


def read(fd: int, offset: int, size: int) -> Call[bytes]:
    return Call(fileverbs.Read(fd, offset, size), replies.data)


def write(fd: int, offset: int, data: bytes) -> Call[int]:
    return Call(fileverbs.Write(fd, offset, data), replies.number)


def fstat(fd: int) -> Call[replies.FileInfo]:
    return Call(fileverbs.StatFd(fd), replies.file_info)


def ftruncate(fd: int, size: int) -> Call[None]:
    return Call(fileverbs.TruncateFd(fd, size), replies.nothing)


def fsync(fd: int, *, data_only: bool) -> Call[None]:
    return Call(fileverbs.SyncFd(fd, data_only), replies.nothing)


def close(fd: int) -> Call[None]:
    return Call(fileverbs.Close(fd), replies.nothing)


def mkdir(path: bytes, mode: int, *, parents: bool) -> Call[None]:
    return Call(pathverbs.MakeDirectory(path, mode, parents), replies.nothing)


def mknod(path: bytes, mode: int, rdev: int) -> Call[None]:
    return Call(pathverbs.MakeNode(path, mode, rdev), replies.nothing)


def symlink(path: bytes, target: bytes) -> Call[None]:
    return Call(pathverbs.MakeSymlink(path, target), replies.nothing)


def link(source: bytes, target: bytes) -> Call[None]:
    return Call(pathverbs.Link(source, target), replies.nothing)


def unlink(path: bytes) -> Call[None]:
    return Call(pathverbs.Unlink(path), replies.nothing)


def rmdir(path: bytes) -> Call[None]:
    return Call(pathverbs.RemoveDirectory(path), replies.nothing)


def remove_tree(path: bytes) -> Call[int]:
    return Call(pathverbs.RemoveTree(path), replies.number)


def rename(source: bytes, target: bytes, flags: int) -> Call[None]:
    return Call(pathverbs.Rename(source, target, flags), replies.nothing)


def setattr_(path: bytes, *, follow: bool, **changes: int | None) -> Call[replies.FileInfo]:
    return Call(pathverbs.SetAttributes(path, follow, **changes), replies.file_info)


def truncate(path: bytes, size: int) -> Call[replies.FileInfo]:
    return Call(pathverbs.Truncate(path, size), replies.file_info)


def getxattr(path: bytes, name: bytes, *, follow: bool) -> Call[bytes]:
    return Call(pathverbs.GetXattr(path, name, follow), replies.data)


def listxattr(path: bytes, *, follow: bool) -> Call[list[bytes]]:
    return Call(pathverbs.ListXattr(path, follow), replies.names)


def setxattr(path: bytes, name: bytes, value: bytes, *, follow: bool) -> Call[None]:
    return Call(pathverbs.SetXattr(path, name, value, follow), replies.nothing)


def removexattr(path: bytes, name: bytes, *, follow: bool) -> Call[None]:
    return Call(pathverbs.RemoveXattr(path, name, follow), replies.nothing)


def put(at: bytes, entries: Sequence[PutEntry]) -> Call[list[tuple[int, int]]]:
    return Call(batchverbs.Put(at, tuple(entries)), replies.failures)


def fetch(at: bytes, names: Sequence[bytes]) -> Call[list[bytes | int]]:
    return Call(batchverbs.Fetch(at, tuple(names)), replies.fetched)
