"""A file that the daemon holds open for a client, as Python's raw files are.

Concurrency: as the client that opened it; the position is the object's own, so threads that
share one use `pread` and `pwrite`.
"""

from __future__ import annotations

import errno
import io
import os
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from vfsd.control import calls
from vfsd.control.calls import Call
from vfsd.control.framing import DATA_LIMIT_BYTES
from vfsd.control.replies import FileInfo

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

T = TypeVar("T")


class Ask(Protocol):
    """Makes a call and waits for its answer."""

    def __call__(self, call: Call[T], /) -> T: ...


class RemoteFile(io.RawIOBase):
    """A file that the daemon holds open; `fd` is its virtual fd."""

    def __init__(self, ask: Ask, fd: int, flags: int) -> None:
        super().__init__()
        self.fd = fd
        self._ask = ask
        self._flags = flags
        self._offset = 0

    def readable(self) -> bool:
        return self._flags & os.O_ACCMODE != os.O_WRONLY

    def writable(self) -> bool:
        return self._flags & os.O_ACCMODE != os.O_RDONLY

    def seekable(self) -> bool:
        return True

    def pread(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`; the file's position stays."""
        return self._ask(calls.read(self.fd, offset, min(size, DATA_LIMIT_BYTES)))

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write up to a message's load at `offset`; return how much that was."""
        return self._ask(calls.write(self.fd, offset, data[:DATA_LIMIT_BYTES]))

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._check("r", self.readable())
        view = memoryview(buffer).cast("B")
        data = self.pread(len(view), self._offset)
        view[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def write(self, data: ReadableBuffer, /) -> int:
        self._check("w", self.writable())
        view = memoryview(data).cast("B")
        written = self.pwrite(bytes(view[:DATA_LIMIT_BYTES]), self._offset)
        self._offset = (
            self.stat().stat.size if self._flags & os.O_APPEND else self._offset + written
        )
        return written

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check("s", True)
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset}.get(whence)
        if start is None:
            start = self.stat().stat.size
        if start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._offset = start + offset
        return self._offset

    def tell(self) -> int:
        return self._offset

    def truncate(self, size: int | None = None, /) -> int:
        self._check("w", self.writable())
        size = self._offset if size is None else size
        self._ask(calls.ftruncate(self.fd, size))
        return size

    def stat(self) -> FileInfo:
        """Return the attributes of the open file, which may have no name any more."""
        return self._ask(calls.fstat(self.fd))

    def sync(self, *, data_only: bool = False) -> None:
        """Return once what was written is durable."""
        self._ask(calls.fsync(self.fd, data_only=data_only))

    def close(self) -> None:
        if not self.closed:
            super().close()
            with suppress(ConnectionError):  # a connection that ended closed it
                self._ask(calls.close(self.fd))

    def __del__(self) -> None:
        # Closing means a request, which a collection at any moment must not make: it could
        # happen inside another one. The connection's end closes the file.
        if not self.closed:
            warnings.warn(f"the virtual fd {self.fd:#x} was not closed", ResourceWarning, 2)
            super().close()

    def _check(self, what: str, allowed: bool) -> None:
        if self.closed:
            raise ValueError("the file is closed")
        if not allowed:
            raise io.UnsupportedOperation({"r": "not readable", "w": "not writable"}[what])
