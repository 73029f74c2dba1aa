"""Copying a file or a directory tree from the host into the mounted tree, as shared steps.

Modes, times, symlinks, hard links, FIFOs, devices and holes are kept; owners become those of
who copies; sockets are named and left out. Small files travel many to a message. A file that
cannot be copied is noted in the report, and the rest goes on.

Concurrency: a generator that reads the host's disk between its calls; it blocks.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Iterator
from contextlib import suppress

from vfsd.control import calls
from vfsd.control.batchverbs import PutEntry
from vfsd.control.calls import Steps
from vfsd.control.contents import close_quietly, write_range
from vfsd.control.framing import DATA_LIMIT_BYTES
from vfsd.control.transfer import Account, ProgressCallback, Report

SMALL_BYTES = 1 << 18
"""Files up to this size travel in batches."""

BATCH_FILES = 512
ENTRY_BYTES = 64
"""What an entry takes in a message beside its path and content."""

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def put_tree(
    source: bytes, target: bytes, tell: ProgressCallback | None, *, follow: bool = False
) -> Steps[Report]:
    """Copy the host's `source` so that it becomes `target`, whose directory exists.

    A directory is merged into one that is there. `follow`: `source` itself may be a symlink.
    """
    found = os.stat(source) if follow else os.lstat(source)
    account = Account(tell)
    if tell is not None:
        account.files_total, account.size_total_bytes = _measure(source, found)
    if stat_module.S_ISDIR(found.st_mode):
        above, name = b"", b""
        if target.strip(b"/"):
            above, _, name = target.rstrip(b"/").rpartition(b"/")
            # With the owner's write bit until its content is there; the last batch corrects it.
            mode = found.st_mode | 0o700
            failed: list[tuple[int, int]] = yield calls.put(above, [(name, mode, None, None)])
            if failed:
                raise OSError(failed[0][1], os.strerror(failed[0][1]), os.fsdecode(target))
        sender = _Sender(source, target, account)
        yield from sender.send_directory(found)
    else:
        above, _, name = target.rstrip(b"/").rpartition(b"/")
        sender = _Sender(os.path.dirname(source) or b".", above, account)
        yield from sender.send(name, source, found, follow=follow)
        yield from sender.flush()
    return account.report


def _measure(source: bytes, found: os.stat_result) -> tuple[int, int]:
    """Return how many files and bytes there are to copy, as far as they can be seen."""
    if not stat_module.S_ISDIR(found.st_mode):
        return 1, found.st_size
    files, size = 1, 0
    for _, entry in _walk(source, None):
        files += 1
        with suppress(OSError):
            if entry.is_file(follow_symlinks=False):
                size += entry.stat(follow_symlinks=False).st_size
    return files, size


def _walk(source: bytes, account: Account | None) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    """Yield the path below `source` and the entry of each file, directories before content."""
    waiting = [b""]
    while waiting:
        above = waiting.pop()
        folder = os.path.join(source, above) if above else source
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if account is not None:
                account.problem(folder, error)
            continue
        for entry in entries:
            path = os.path.join(above, entry.name)
            yield path, entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)


class _Sender:
    """One tree on its way: paths are relative to `source` on the host and `at` in the tree."""

    def __init__(self, source: bytes, at: bytes, account: Account) -> None:
        self._source = source
        self._at = at
        self._account = account
        self._batch: list[PutEntry] = []
        self._batch_bytes = 0
        self._data_bytes = 0
        self._linked: dict[tuple[int, int], bytes] = {}
        self._directories: list[PutEntry] = []
        self._failed: set[bytes] = set()

    def send_directory(self, found: os.stat_result) -> Steps[None]:
        """Send all below the source, then the times of its directories, innermost first."""
        self._directories.append((b"", found.st_mode, found.st_mtime_ns, None))
        self._account.add(1, 0)
        for path, entry in _walk(self._source, self._account):
            try:
                attributes = entry.stat(follow_symlinks=False)
            except OSError as error:
                self._account.problem(entry.path, error)
                continue
            yield from self.send(path, entry.path, attributes)
        yield from self.flush()
        while self._directories:
            yield from self._send_times()

    def send(
        self, path: bytes, host_path: bytes, found: os.stat_result, *, follow: bool = False
    ) -> Steps[None]:
        """Send one file, or a directory without its content."""
        mode, mtime_ns = found.st_mode, found.st_mtime_ns
        kind = stat_module.S_IFMT(mode)
        try:
            if kind == stat_module.S_IFDIR:
                self._directories.append((path, mode, mtime_ns, None))
                yield from self._add((path, mode | 0o700, None, None))
                return
            if found.st_nlink > 1:
                first = self._linked.setdefault((found.st_dev, found.st_ino), path)
                if first != path:
                    yield from self._add((path, 0, None, first))
                    return
            if kind == stat_module.S_IFREG:
                yield from self._send_regular(path, host_path, follow=follow)
            elif kind == stat_module.S_IFLNK:
                yield from self._add((path, mode, mtime_ns, os.readlink(host_path)))
            elif kind == stat_module.S_IFIFO:
                yield from self._add((path, mode, mtime_ns, None))
            elif kind in (stat_module.S_IFCHR, stat_module.S_IFBLK):
                yield from self._add((path, mode, mtime_ns, found.st_rdev))
            else:
                self._account.problem(host_path, "is a socket, which cannot be copied")
        except ConnectionError:
            raise
        except OSError as error:
            self._account.problem(host_path, error)

    def _send_regular(self, path: bytes, host_path: bytes, *, follow: bool) -> Steps[None]:
        flags = OPEN_FLAGS & ~os.O_NOFOLLOW if follow else OPEN_FLAGS
        local = os.open(host_path, flags)
        try:
            found = os.fstat(local)
            if not stat_module.S_ISREG(found.st_mode):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            if found.st_size <= SMALL_BYTES:
                data = _read_up_to(local, SMALL_BYTES)
                if data is not None:
                    yield from self._add((path, found.st_mode, found.st_mtime_ns, data))
                    return
            yield from self.flush()
            yield from self._send_large(path, local)
        finally:
            os.close(local)

    def _send_large(self, path: bytes, local: int) -> Steps[None]:
        above, _, name = path.rpartition(b"/")
        fd: int = yield calls.stage(self._at, above)
        try:
            end = 0
            for offset, data in _filled(local):
                yield from write_range(fd, offset, data)
                self._account.add(0, len(data))
                end = offset + len(data)
            found = os.fstat(local)
            if found.st_size > end:
                yield calls.ftruncate(fd, found.st_size)
            yield calls.commit(fd, name, found.st_mode, found.st_mtime_ns)
        except ConnectionError:
            raise
        except OSError:
            yield from close_quietly(fd)
            raise
        self._account.add(1, 0)

    # -- batches --------------------------------------------------------------------------

    def _add(self, entry: PutEntry) -> Steps[None]:
        path, mode, _, content = entry
        length = len(content) if isinstance(content, bytes) else 0
        cost = len(path) + length + ENTRY_BYTES
        if self._batch and self._batch_bytes + cost > DATA_LIMIT_BYTES:
            yield from self.flush()
        self._batch.append(entry)
        self._batch_bytes += cost
        self._data_bytes += length if stat_module.S_ISREG(mode) else 0
        if len(self._batch) >= BATCH_FILES:
            yield from self.flush()

    def flush(self) -> Steps[None]:
        """Send what waits."""
        if not self._batch:
            return
        batch, data_bytes = self._batch, self._data_bytes
        self._batch, self._batch_bytes, self._data_bytes = [], 0, 0
        failed: list[tuple[int, int]] = yield calls.put(self._at, batch)
        for index, code in failed:
            if not 0 <= index < len(batch):
                raise OSError(errno.EPROTO, "the daemon names a file that was not sent")
            self._note_failure(batch[index], code)
        self._account.add(len(batch) - len(failed), data_bytes)

    def _note_failure(self, entry: PutEntry, code: int) -> None:
        path, mode, _, _ = entry
        if stat_module.S_ISDIR(mode):
            self._failed.add(path)
        # Below a directory that could not be made everything fails: telling once is enough.
        if os.path.dirname(path) not in self._failed:
            shown = os.path.join(b"/" + self._at.strip(b"/"), path)
            self._account.problem(shown, OSError(code, os.strerror(code)))

    def _send_times(self) -> Steps[None]:
        batch: list[PutEntry] = []
        room = DATA_LIMIT_BYTES
        while self._directories and len(batch) < BATCH_FILES:
            entry = self._directories[-1]
            room -= len(entry[0]) + ENTRY_BYTES
            if room < 0 and batch:
                break
            self._directories.pop()
            if entry[0] not in self._failed:
                batch.append(entry)
        failed: list[tuple[int, int]] = yield calls.put(self._at, batch)
        for index, code in failed:
            if not 0 <= index < len(batch):
                raise OSError(errno.EPROTO, "the daemon names a file that was not sent")
            self._note_failure(batch[index], code)


def _read_up_to(local: int, limit: int) -> bytes | None:
    """Return all data of an open file, None if it is more than `limit` bytes."""
    data = b""
    while len(data) <= limit:
        more = os.read(local, limit + 1 - len(data))
        if not more:
            return data
        data += more
    return None


def _filled(local: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and data of an open file's parts, without its holes."""
    offset = 0
    while True:
        try:
            offset = os.lseek(local, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno != errno.EINVAL:  # it knows no holes: read on where we are
                raise
        data = os.pread(local, DATA_LIMIT_BYTES, offset)
        if not data:
            return
        yield offset, data
        offset += len(data)
