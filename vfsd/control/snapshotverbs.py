"""The verbs on snapshots and forks, and the parameters of each; see protocol.py.

Concurrency: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfsd.control.verb import PAGE_LIMIT, Verb


@dataclass(frozen=True, slots=True)
class Snapshot(Verb):
    """Attach a sealed copy of what is attached at `prefix` at another prefix."""

    prefix: bytes
    at: bytes


@dataclass(frozen=True, slots=True)
class Fork(Verb):
    """Attach a writable copy of what is attached at `prefix` at another prefix."""

    prefix: bytes
    at: bytes


@dataclass(frozen=True, slots=True)
class CreateSnapshot(Verb):
    """Freeze what is attached at `prefix` under a name that lasts as long as the daemon."""

    name: bytes
    prefix: bytes = b""
    replace: bool = False


@dataclass(frozen=True, slots=True)
class StoreSnapshot(Verb):
    """Freeze what is attached at `prefix`, and store it under a name; parts tell how far it is."""

    name: bytes
    prefix: bytes = b""
    replace: bool = False


@dataclass(frozen=True, slots=True)
class ListSnapshots(Verb):
    """Return a page of the live snapshots, sorted by name, starting past the name `after`."""

    after: bytes = b""
    limit: int = PAGE_LIMIT


@dataclass(frozen=True, slots=True)
class ShowSnapshot(Verb):
    """Return what is known of a live snapshot."""

    name: bytes


@dataclass(frozen=True, slots=True)
class RemoveSnapshot(Verb):
    """Forget a live snapshot and free what only it held; what was made from it stays."""

    name: bytes


@dataclass(frozen=True, slots=True)
class AttachSnapshot(Verb):
    """Attach a snapshot, a live one or else a stored one, read-only."""

    name: bytes
    at: bytes


@dataclass(frozen=True, slots=True)
class ForkSnapshot(Verb):
    """Attach a writable tree that begins as a snapshot, a live one or else a stored one."""

    name: bytes
    at: bytes
