"""The bytes of an archive in the making: appended in order, collected into large writes.

Concurrency: for one thread at a time.
"""

from __future__ import annotations

import os

from vfsd.archive.layout import ALIGNMENT

BUFFER_BYTES = 1 << 20


class Stream:
    """Appends to `fd` from `start` on; offsets count from there."""

    def __init__(self, fd: int, start: int) -> None:
        self._fd = fd
        self._start = start
        self._buffer: list[bytes | bytearray | memoryview] = []
        self._waiting = 0
        self._written = 0

    @property
    def offset(self) -> int:
        """Where the next byte will stand."""
        return self._written + self._waiting

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append, and return where it stands; `data` must not change any more."""
        at = self.offset
        self._buffer.append(data)
        self._waiting += len(data)
        if self._waiting >= BUFFER_BYTES:
            self.flush()
        return at

    def align(self) -> None:
        """Append zeros up to the next multiple of `ALIGNMENT`."""
        self.write(bytes(-self.offset % ALIGNMENT))

    def flush(self) -> None:
        """Write what is waiting. OSError."""
        data = memoryview(b"".join(self._buffer))
        self._buffer.clear()
        self._waiting = 0
        while data:
            count = os.pwrite(self._fd, data, self._start + self._written)
            self._written += count
            data = data[count:]

    def rewind(self, offset: int) -> None:
        """Forget what was appended from `offset` on."""
        self.flush()
        self._written = offset

    def finish(self) -> None:
        """Write what is waiting, and cut the file there. OSError."""
        self.flush()
        os.ftruncate(self._fd, self._start + self._written)
