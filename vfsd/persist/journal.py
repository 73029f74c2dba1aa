"""A journal: changes of a tree, in their order, on disk as far as somebody asked for it.

    offset size field
    0      8    magic: ``vfsdJRN`` and a NUL
    8      4    version of the format, little-endian
    12     8    number of the journal, little-endian
    then, again and again:
    0      4    length of the change in bytes, little-endian
    4      4    the same with every bit inverted: a flipped one must not look like a missing end
    8      16   xxh3-128 digest of the length and the change
    24     ...  the change: a msgpack array (journaled.py writes them, replaying.py reads them)

A process that is killed leaves at most a part of the last change that it wrote, of which nobody
was told that it is on disk; reading ends before it. Anything else that does not agree with its
digest is damage, and refused.

After an error (a full disk) nothing more is written: every `sync` says so until the tree was stored
and a new journal begins, since a journal with a gap would be worse than none.

What it is *not*: which changes there are.

Concurrency: `note` is a step of the event loop; `sync` writes in a thread, one at a time, and those
who wait meanwhile share the next.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import trio

from vfsd.codec import CodecError, decode, encode
from vfsd.digest import DIGEST_SIZE, content_digest
from vfsd.errors import fail
from vfsd.snapshots.records import sync_directory
from vfsd.snapshots.refusals import Damaged, UnknownVersion

VERSION = 1
MAGIC = b"vfsdJRN\0"
HEAD = struct.Struct("<8sIQ")
LENGTH = struct.Struct("<II")
INVERTED = 0xFFFF_FFFF
WAITING_MAX_BYTES = 1 << 28
"""More is not kept for a disk that takes nothing."""
CHANGE_HEAD_BYTES = LENGTH.size + DIGEST_SIZE


class Journal:
    """One file that grows; see the module. It is made by the first `sync` of a change."""

    def __init__(self, path: str, number: int) -> None:
        self.number = number
        self.path = path
        self.noted_bytes = 0
        self.error: OSError | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._written = 0
        self._lock = trio.Lock()
        self._fd = -1

    @property
    def waiting_bytes(self) -> int:
        """How much is noted and not yet written."""
        return self._waiting_bytes

    def note(self, change: list[Any]) -> None:
        """Add a change; it is in memory only."""
        payload = encode(change)
        length = LENGTH.pack(len(payload), len(payload) ^ INVERTED)
        record = length + content_digest(length + payload) + payload
        self.noted_bytes += len(record)
        if self.error is None:
            self._waiting.append(record)
            self._waiting_bytes += len(record)
            if self._waiting_bytes > WAITING_MAX_BYTES:
                # An earlier journal cannot be written, so this one must not be.
                self.error = fail(errno.ENOSPC, self.path)
                self._waiting, self._waiting_bytes = [], 0

    async def sync(self, *, durable: bool = True) -> None:
        """Return once all that was noted before the call is written, and `durable`.

        OSError as the disk says, also at every later call.
        """
        async with self._lock:
            if self.error is not None:
                raise OSError(self.error.errno, self.error.strerror, self.path)
            records, self._waiting, self._waiting_bytes = self._waiting, [], 0
            if not records and (not durable or self._fd < 0):
                return
            with trio.CancelScope(shield=True):
                try:
                    await trio.to_thread.run_sync(self._write, b"".join(records), durable)
                except OSError as error:
                    self.error = error
                    self._waiting, self._waiting_bytes = [], 0
                    raise OSError(error.errno, error.strerror, self.path) from error

    def _write(self, data: bytes, durable: bool) -> None:
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path, flags, 0o600)
            data = HEAD.pack(MAGIC, VERSION, self.number) + data
        is_new = self._written == 0
        left = memoryview(data)
        while left:
            count = os.pwrite(self._fd, left, self._written)
            self._written += count
            left = left[count:]
        if durable:
            os.fsync(self._fd)
        if is_new:
            sync_directory(os.path.dirname(self.path))

    def close(self) -> None:
        """Close the file. What is not written is lost."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Reader:
    """Goes through the changes in a journal that nobody writes any more. Damaged.

    Of the `last` one the end may be missing; `end` is where it then begins anew.
    """

    def __init__(self, path: str, number: int, *, last: bool) -> None:
        self._path = path
        self._number = number
        self._last = last
        self.end = 0

    def __iter__(self) -> Iterator[list[Any]]:
        with open(self._path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(HEAD.size)
            if len(head) < HEAD.size and self._last:
                return  # killed before the first change
            _check_head(self._path, head, self._number)
            self.end = HEAD.size
            while start := file.read(CHANGE_HEAD_BYTES):
                payload = self._payload(start, file, size)
                if payload is None:
                    return
                try:
                    yield list(decode(payload))
                except (CodecError, TypeError):
                    raise self._damaged() from None
                self.end += len(start) + len(payload)

    def _payload(self, start: bytes, file: BinaryIO, size: int) -> bytes | None:
        """Return the change after its head; None where the end is missing. Damaged."""
        if len(start) < CHANGE_HEAD_BYTES:
            payload, is_missing = b"", True
        else:
            length, inverted = LENGTH.unpack_from(start)
            if length != inverted ^ INVERTED:
                payload, is_missing = b"", not (start + file.read()).strip(b"\0")
            else:
                payload = file.read(min(length, size))
                if len(payload) == length and _agrees(start, payload):
                    return payload
                is_missing = len(payload) < length or not file.read().strip(b"\0")
        if self._last and is_missing:
            return None
        raise self._damaged()

    def cut(self) -> None:
        """Take away what is there of an end that is missing, after all was read."""
        if self.end == 0:
            os.unlink(self._path)
            return
        with open(self._path, "r+b") as file:
            file.truncate(self.end)
            os.fsync(file.fileno())

    def _damaged(self) -> Damaged:
        return Damaged(
            f"{self._path} is damaged at byte {self.end}, and nothing was changed; to go on"
            " without the changes in it, move it and those with higher numbers somewhere else"
        )


def _agrees(start: bytes, payload: bytes) -> bool:
    return content_digest(start[: LENGTH.size] + payload) == start[LENGTH.size :]


def _check_head(path: str, head: bytes, number: int) -> None:
    if len(head) < HEAD.size or not head.startswith(MAGIC):
        raise Damaged(f"{path} is damaged: it is no journal")
    _, version, found = HEAD.unpack(head)
    if version != VERSION:
        raise UnknownVersion(f"{path} has the unknown version {version}; a newer vfsd wrote it")
    if found != number:
        raise Damaged(f"{path} is damaged: it says that its number is {found}")
