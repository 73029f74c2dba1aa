"""The verbs on snapshots and forks: what is attached is frozen, named, attached again.

What it is *not*: the names themselves (vfsd/snapshots/live.py, which the host holds).

Concurrency: freezing and naming is one step; closing what a removal freed may suspend.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from vfsd.contract import Provider
from vfsd.control.snapshotverbs import (
    AttachSnapshot,
    CreateSnapshot,
    Fork,
    ForkSnapshot,
    ListSnapshots,
    RemoveSnapshot,
    ShowSnapshot,
    Snapshot,
    StoreSnapshot,
)
from vfsd.control.work import Work
from vfsd.errors import UserError, fail
from vfsd.exitcodes import ExitCode
from vfsd.freezing import between_changes
from vfsd.tree import Attachment, split_path

if TYPE_CHECKING:
    from vfsd.snapshots.live import LiveSnapshot

T = TypeVar("T")


async def snapshot(work: Work, verb: Snapshot) -> object:
    tree = _attached(work, verb.prefix).base
    child = await _versioned(tree, tree.snapshot)
    return await _attach(work, verb.at, tree, child, read_only=True)


async def fork(work: Work, verb: Fork) -> object:
    tree = _attached(work, verb.prefix).base
    child = await _versioned(tree, tree.fork)
    return await _attach(work, verb.at, tree, child, read_only=False)


async def create(work: Work, verb: CreateSnapshot) -> object:
    attachment = _attached(work, verb.prefix)
    snapshots, name = work.host.snapshots, _name(verb.name)
    await work.host.storing.check_free(name)
    tree, prefix = attachment.base, attachment.prefix
    made, replaced = await _versioned(
        tree, lambda: snapshots.create(name, tree, prefix, replace=verb.replace)
    )
    if replaced is not None:
        await snapshots.discard(replaced)
    return record(made)


async def store(work: Work, verb: StoreSnapshot) -> object:
    """Send ``[files, size_bytes]`` as parts, the first once the tree is frozen."""
    attachment = _attached(work, verb.prefix)
    name = _name(verb.name)
    if name in work.host.snapshots:
        work.host.snapshots.check_free(name)

    async def tell(files: int, size_bytes: int) -> None:
        await work.send_part([files, size_bytes])

    try:
        stored = await work.host.storing.store(
            name,
            attachment.base,
            replace=verb.replace,
            command=(b"vfsd", b"snapshot", b"create", verb.name),
            told=tell,
        )
    except OSError as error:
        raise _explained(error, attachment.base) from error
    parent = stored.snapshot.parent
    return {
        "name": verb.name,
        "parent": None if parent is None else os.fsencode(parent),
        "files": stored.files,
        "size_bytes": stored.size_bytes,
        "store": os.fsencode(stored.store),
    }


async def list_(work: Work, verb: ListSnapshots) -> object:
    """Return ``{snapshots, after}``."""
    found = list(work.host.snapshots)
    first = bisect_right(found, _name(verb.after), key=lambda each: each.name)
    page = found[first : first + verb.limit]
    more = first + len(page) < len(found)
    return {
        "snapshots": [record(each) for each in page],
        "after": os.fsencode(page[-1].name) if more else None,
    }


async def show(work: Work, verb: ShowSnapshot) -> object:
    return record(work.host.snapshots.get(_name(verb.name)))


async def remove(work: Work, verb: RemoveSnapshot) -> object:
    await work.host.snapshots.remove(_name(verb.name))
    return None


async def attach(work: Work, verb: AttachSnapshot) -> object:
    provider = await work.host.open_snapshot(_name(verb.name), writable=False)
    return describe(await work.host.attach_provider(verb.at, provider, work.caller, read_only=True))


async def fork_named(work: Work, verb: ForkSnapshot) -> object:
    provider = await work.host.open_snapshot(_name(verb.name), writable=True)
    return describe(
        await work.host.attach_provider(verb.at, provider, work.caller, read_only=False)
    )


def record(snapshot: LiveSnapshot) -> dict[str, object]:
    """Return a live snapshot as it crosses the wire."""
    counters = snapshot.provider.statistics()
    return {
        "name": os.fsencode(snapshot.name),
        "prefix": snapshot.prefix,
        "provider": os.fsencode(snapshot.provider.describe()),
        "parent": None if snapshot.parent is None else os.fsencode(snapshot.parent),
        "created_ns": snapshot.created_ns,
        "files": _count(counters.get("present_files")),
        "size_bytes": _count(counters.get("used_bytes")),
    }


def describe(attachment: Attachment) -> dict[str, object]:
    """Return an attachment as it crosses the wire."""
    return {
        "prefix": attachment.prefix,
        "provider": os.fsencode(attachment.provider.describe()),
        "read_only": attachment.read_only,
        "hides": attachment.hides,
    }


async def _attach(
    work: Work, at: bytes, tree: Provider, child: Provider, *, read_only: bool
) -> dict[str, object]:
    work.host.lineage.inherit(tree, child)
    return describe(await work.host.attach_provider(at, child, work.caller, read_only=read_only))


async def _versioned(tree: Provider, make: Callable[[], T]) -> T:
    try:
        return await between_changes(tree, make)
    except OSError as error:
        raise _explained(error, tree) from error


def _attached(work: Work, prefix: bytes) -> Attachment:
    attachment = work.tree.attachments.get(b"/".join(split_path(prefix)))
    if attachment is None:
        raise fail(errno.EINVAL, prefix)
    return attachment


def _explained(error: OSError, tree: Provider) -> Exception:
    if error.errno == errno.EBUSY:
        return UserError(
            f"{tree.describe()} is in the middle of a change that does not end: its storage does"
            " not answer; try again when it does",
            ExitCode.REFUSED,
        )
    if error.errno != errno.EOPNOTSUPP:
        return error
    return UserError(
        f"{tree.describe()} cannot be frozen; attach an overlay on it, which can",
        ExitCode.REFUSED,
    )


def _name(name: bytes) -> str:
    # As it is: names of another form are refused where they would be taken.
    return os.fsdecode(name)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None
