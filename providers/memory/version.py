"""One version of the tree: the live one, a snapshot or a fork, with its quotas.

Holds the records by node number and knows how to find, change, add and drop them; which
call does what with them stands in entries.py, rename.py, setattr.py and handle.py. All of it
refers to files by number, so that a handle opened before a snapshot goes on in the live tree.

**Quotas** count what this version shows, not what it shares with others: `used_bytes` is the
sum of its files' pages and extended attributes, `records.count` its files (the root included,
hard links not). A file without a name counts as long as it is open.

Concurrency: changed between awaits only.
"""

from __future__ import annotations

import errno
import time
from typing import TypeVar

from providers.memory import names
from providers.memory.chunks import PAGE
from providers.memory.numbermap import NumberMap
from providers.memory.ownership import Counters, Owner
from providers.memory.records import Directory, File, Record
from vfsd.errors import fail
from vfsd.provider import NUMBER_LIMIT, ROOT_NUMBER, Node

UNLIMITED_BYTES = 1 << 63
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
        self.limit_bytes = None if limit_bytes is None else -(-limit_bytes // PAGE) * PAGE
        self.limit_files = limit_files
        self.used_bytes = 0
        self.chunk_count = 0
        self.lazy_directories = 0
        """How many directories are still to be populated."""
        self.writable = True
        self.nameless: set[int] = set()
        """Files without a name that are open here."""
        self._open_counts: dict[int, int] = {}
        self._next_number = ROOT_NUMBER

    def split(self, *, writable: bool) -> Version:
        """Return another version with the same files; neither sees the other's changes.

        O(1) and the files that are open without a name: the new version does not have those.
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
            if number in self._open_counts:
                self.nameless.add(number)
            else:
                self._drop(number)

    def remove_directory(self, number: int) -> None:
        """Drop an empty directory."""
        self._drop(number)

    def _drop(self, number: int) -> None:
        record = self.find(number)
        if type(record) is File:
            self.used_bytes -= record.content.charged_bytes
            self.chunk_count -= record.content.chunk_count
        if record.xattrs:
            self.used_bytes -= sum(len(name) + len(value) for name, value in record.xattrs.items())
        self.records.remove(number, self.owner)

    # -- open files -----------------------------------------------------------------------

    def opened(self, number: int) -> None:
        """Count a handle; the file lives at least until the last one is `released`."""
        counts = self._open_counts
        counts[number] = counts.get(number, 0) + 1

    def released(self, number: int) -> None:
        """Uncount a handle, and drop a file without a name at the last one."""
        counts = self._open_counts
        count = counts.get(number, 0)
        if count > 1:
            counts[number] = count - 1
        elif count:
            del counts[number]
            if number in self.nameless:
                self.nameless.remove(number)
                self._drop(number)

    # -- room -----------------------------------------------------------------------------

    @property
    def room_bytes(self) -> int:
        """How many bytes the quota leaves."""
        if self.limit_bytes is None:
            return UNLIMITED_BYTES
        return max(0, self.limit_bytes - self.used_bytes)

    def check_file_room(self, files: int = 1) -> None:
        """Raise ENOSPC unless that many more files may be made."""
        if self.limit_files is not None and self.records.count + files > self.limit_files:
            raise fail(errno.ENOSPC)
