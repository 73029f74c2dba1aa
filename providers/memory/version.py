"""One version of the tree: the live one, a snapshot or a fork, with its quotas.

Holds the records by node number and knows how to find, change, add and drop them; which
call does what with them stands in entries.py, rename.py, setattr.py and handle.py. All of it
refers to files by number, so that a handle opened before a snapshot goes on in the live tree.

**Quotas** count what this version shows, not what it shares with others: `used_bytes` is the
sum of its files' pages and extended attributes, `records.count` its files (the root included,
hard links not). A file without a name counts as long as it is open; while only a door keeps
it, until the kernel's `forget` comes, its room is already given to others.

Concurrency: changed between awaits only.
"""

from __future__ import annotations

import errno
import time
from typing import TypeVar

from providers.memory import names
from providers.memory.chunks import CHUNK, PAGE
from providers.memory.numbermap import NumberMap
from providers.memory.ownership import Counters, Owner
from providers.memory.records import Directory, File, Record
from vfsd.errors import fail
from vfsd.provider import NUMBER_LIMIT, ROOT_NUMBER, Keeper, Node

UNLIMITED_BYTES = 1 << 63
WRITE_MARGIN_BYTES = 2 * CHUNK
"""How much more than its size a write can need: zeros before it, the rest of its last page."""
LINK_MAX = 65_000
"""Names of one file, as on ext4: quotas do not count names, so something else must."""

RecordT = TypeVar("RecordT", bound=Record)

now_ns = time.time_ns


class Version:
    """See the module."""

    __slots__ = (
        "_next_number",
        "_open_counts",
        "chunk_count",
        "counters",
        "keepers",
        "lazy_directories",
        "limit_bytes",
        "limit_files",
        "nameless",
        "owner",
        "records",
        "used_bytes",
        "writable",
    )

    def __init__(self, limit_bytes: int | None, limit_files: int | None) -> None:
        self.counters = Counters()
        self.owner = Owner(self.counters)
        self.records: NumberMap[Record] = NumberMap(self.owner)
        self.set_limits(limit_bytes, limit_files)
        self.used_bytes = 0
        self.chunk_count = 0
        self.lazy_directories = 0
        """How many directories are still to be populated."""
        self.writable = True
        self.nameless: set[int] = set()
        """Files without a name: open here, or kept by a door."""
        self.keepers: tuple[Keeper, ...] = ()
        self._open_counts: dict[int, int] = {}
        self._next_number = ROOT_NUMBER

    def set_limits(self, limit_bytes: int | None, limit_files: int | None) -> None:
        """Change the quotas; None is none. Bytes are counted in whole pages."""
        self.limit_bytes = None if limit_bytes is None else -(-limit_bytes // PAGE) * PAGE
        self.limit_files = limit_files

    def split(self, *, writable: bool) -> Version:
        """Return another version with the same files; neither sees the other's changes.

        O(1) and the files without a name: the new version does not have those.
        """
        self.owner = self.owner.successor()
        other = Version(self.limit_bytes, self.limit_files)
        other.records = self.records.share()
        other.used_bytes = self.used_bytes
        other.chunk_count = self.chunk_count
        other.lazy_directories = self.lazy_directories
        other.writable = writable
        other._next_number = self._next_number
        for number in self.nameless:
            other._drop(number)
        return other

    def close(self) -> None:
        """Let go of all files; every number is stale from now on."""
        self.records = NumberMap(self.owner)
        self.nameless.clear()
        self.keepers = ()
        self._open_counts.clear()
        self.used_bytes = self.chunk_count = self.lazy_directories = 0
        self.writable = False

    # -- finding --------------------------------------------------------------------------

    def find(self, number: int) -> Record:
        """Return the record to look at. ESTALE."""
        record = self.records.get(number)
        if record is None:
            raise fail(errno.ESTALE)
        return record

    def find_directory(self, number: int) -> Directory:
        """Return the directory's record to look at. ESTALE, ENOTDIR."""
        record = self.records.get(number)
        if type(record) is Directory:
            return record
        raise fail(errno.ESTALE if record is None else errno.ENOTDIR)

    def child(self, directory: Directory, name: bytes) -> int:
        """Return the number that `name` stands for. ENOENT."""
        number = names.get(directory.names, name)
        if number is None:
            raise fail(errno.ENOENT, name)
        return number

    # -- changing -------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Raise EROFS on a snapshot, and while the tree is set read-only."""
        if not self.writable:
            raise fail(errno.EROFS)

    def own(self, number: int) -> Record:
        """Return the record to change. ESTALE."""
        record = self.records.get(number)
        if record is None:
            raise fail(errno.ESTALE)
        return record if record.owner is self.owner else self.take(number, record)

    def take(self, number: int, record: RecordT) -> RecordT:
        """Replace a shared record by a copy of this owner's, and return that."""
        record = record.copied(self.owner)
        self.counters.copied_records += 1
        self.records.put(number, record, self.owner)
        return record

    def own_file(self, number: int) -> File:
        """Return the regular file's record to change. ESTALE, EINVAL."""
        record = self.find(number)
        if type(record) is not File:
            raise fail(errno.EINVAL)
        return record if record.owner is self.owner else self.take(number, record)

    def own_directory(self, number: int) -> Directory:
        """Return the directory's record to change. ESTALE, ENOTDIR."""
        record = self.find_directory(number)
        return record if record.owner is self.owner else self.take(number, record)

    def add(self, record: Record) -> Node:
        """Keep a new record, which must be this owner's, and return its node. ENOSPC."""
        self.check_file_room()
        number = self._next_number
        if number >= NUMBER_LIMIT:
            raise fail(errno.ENOSPC)
        self._next_number = number + 1
        self.records.put(number, record, self.owner)
        return Node(number)

    def unlink(self, number: int, now: int) -> None:
        """Take one name away from a file that is not a directory."""
        record = self.own(number)
        record.nlink -= 1
        record.ctime_ns = now
        if not record.nlink:
            self._lose_name(number)

    def remove_directory(self, number: int, now: int) -> None:
        """Take its only name away from an empty directory."""
        record = self.own(number)
        record.nlink = 0
        record.ctime_ns = now
        self._lose_name(number)

    def forget(self, number: int) -> None:
        """Drop a file that has no name and is not open, unless a door still keeps it."""
        if (
            number in self.nameless
            and number not in self._open_counts
            and not any(keeper(number) for keeper in self.keepers)
        ):
            self.nameless.remove(number)
            self._drop(number)

    def _lose_name(self, number: int) -> None:
        self.nameless.add(number)
        self.forget(number)

    def _drop(self, number: int) -> None:
        record = self.find(number)
        self.used_bytes -= record.cost_bytes
        if type(record) is File:
            self.chunk_count -= record.content.chunk_count
        self.records.remove(number, self.owner)

    # -- open files -----------------------------------------------------------------------

    def opened(self, number: int) -> None:
        """Count a handle; the file lives at least until the last one is `released`."""
        counts = self._open_counts
        counts[number] = counts.get(number, 0) + 1

    def released(self, number: int) -> None:
        """Uncount a handle; a file without a name goes with the last one."""
        counts = self._open_counts
        count = counts.get(number, 0)
        if count > 1:
            counts[number] = count - 1
        elif count:
            del counts[number]
            self.forget(number)

    # -- room -----------------------------------------------------------------------------

    @property
    def room_bytes(self) -> int:
        """How many bytes the quota leaves."""
        if self.limit_bytes is None:
            return UNLIMITED_BYTES
        return max(0, self.limit_bytes - self.used_bytes + self.idle_bytes)

    def room_for(self, size: int) -> int:
        """Return as much of `room_bytes` as a write of `size` bytes can need, or all."""
        if self.limit_bytes is None:
            return UNLIMITED_BYTES
        room = self.limit_bytes - self.used_bytes
        # The sum over idle files is spared while nobody needs to know it.
        return room if room >= size + WRITE_MARGIN_BYTES else self.room_bytes

    @property
    def idle_bytes(self) -> int:
        """How much of `used_bytes` is of files that only a door keeps; at most the quota.

        So whoever holds on to removed files can double what a quota allows, but no more.
        """
        idle = sum(self.find(number).cost_bytes for number in self._idle())
        return idle if self.limit_bytes is None else min(idle, self.limit_bytes)

    @property
    def file_count(self) -> int:
        """How many files count against the quota; as `idle_bytes`."""
        idle = len(self._idle())
        count = self.records.count
        return count - (idle if self.limit_files is None else min(idle, self.limit_files))

    def _idle(self) -> list[int]:
        return [number for number in self.nameless if number not in self._open_counts]

    def check_file_room(self, files: int = 1) -> None:
        """Raise ENOSPC unless that many more files may be made."""
        limit = self.limit_files
        if limit is None or self.records.count + files <= limit:
            return
        if self.file_count + files > limit:
            raise fail(errno.ENOSPC)
