"""Compressed streams around tar archives: found by their first bytes, bounded, checked by digest.

gzip, zstd, xz and bzip2 are read; gzip and zstd written. What is written is the same for the
same bytes: no name, no time. A reader stops with a clear error at the limit that it was given, so
that a small file that expands for ever does no harm.

What it is *not*: tar (tarread.py, tarwrite.py).

Concurrency: for one thread at a time.

Sources: RFC 1952 (gzip), RFC 8878 (zstd).
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Protocol

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

if TYPE_CHECKING:
    import lzma

CHUNK_BYTES = 1 << 20
ZSTD_WINDOW_BYTES_MAX = 1 << 27
XZ_MEMORY_BYTES_MAX = 1 << 27
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


class Compression(Enum):
    """How a stream is compressed; the value is what media types and suffixes call it."""

    NONE = ""
    GZIP = "gzip"
    ZSTD = "zstd"


class Readable(Protocol):
    """What is read from."""

    def read(self, size: int = -1, /) -> bytes: ...


class StreamError(ValueError):
    """The stream is damaged, or too large."""


def compression_of(name: str) -> Compression:
    """Return what the suffix of a file's name asks for."""
    if name.endswith((".gz", ".tgz")):
        return Compression.GZIP
    if name.endswith((".zst", ".tzst")):
        return Compression.ZSTD
    return Compression.NONE


class Expanded:
    """Reads a stream of which only the first bytes tell whether it is compressed, and how.

    `limit_bytes` is for what comes out. StreamError, also for what the libraries complain of.
    """

    def __init__(self, source: Readable, limit_bytes: int) -> None:
        ahead = _Ahead(source)
        self.is_compressed = True
        self._failures: tuple[type[Exception], ...] = (zlib.error, EOFError, OSError)
        head = ahead.peek(6)
        if head.startswith(b"\x1f\x8b"):
            import gzip

            self._inner: Readable = gzip.GzipFile(fileobj=_file(ahead), mode="rb")
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            import zstandard

            expander = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
            self._inner = expander.stream_reader(_file(ahead), read_across_frames=True)
            self._failures = (zstandard.ZstdError,)
        elif head.startswith(b"\xfd7zXZ\0"):
            self._inner = _Xz(ahead)
        elif head.startswith(b"BZh"):
            import bz2

            self._inner = bz2.BZ2File(_file(ahead))
        else:
            self._inner = ahead
            self._failures = ()
            self.is_compressed = False
        self._limit_bytes = limit_bytes
        self._left = limit_bytes

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Return up to `size` bytes, none only at the end. StreamError."""
        try:
            data = self._inner.read(min(size, CHUNK_BYTES))
        except self._failures as error:
            raise StreamError(f"it does not expand: {error}") from error
        self._left -= len(data)
        if self._left < 0:
            raise StreamError(f"it expands to more than the limit of {self._limit_bytes} bytes")
        return data


class Hashing:
    """Passes on what is read and digests it; `finish` reads the rest."""

    def __init__(self, source: Readable, algorithm: str = "sha256") -> None:
        self._source = source
        self._hash = hashlib.new(algorithm)
        self._algorithm = algorithm
        self.size_bytes = 0

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Return up to `size` bytes."""
        data = self._source.read(CHUNK_BYTES if size < 0 else size)
        self._hash.update(data)
        self.size_bytes += len(data)
        return data

    def finish(self) -> str:
        """Read to the end and return the digest, as OCI writes it."""
        while self.read():
            pass
        return f"{self._algorithm}:{self._hash.hexdigest()}"


class Compressor:
    """Compresses what is written into `write`; digests of both sides are known at the end."""

    def __init__(self, write: Callable[[bytes], object], compression: Compression) -> None:
        self._into = write
        self._plain = hashlib.sha256()
        self._stored = hashlib.sha256()
        self.size_bytes = 0
        """Of what came out."""
        if compression is Compression.GZIP:
            # The header of this form has no name and no time.
            deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
            self._compress: Callable[[bytes], bytes] = deflate.compress
            self._flush: Callable[[], bytes] = deflate.flush
        elif compression is Compression.ZSTD:
            import zstandard

            made = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
            self._compress, self._flush = made.compress, made.flush
        else:
            self._compress, self._flush = _same, bytes

    def write(self, data: bytes) -> None:
        """Compress and pass on."""
        self._plain.update(data)
        self._put(self._compress(data))

    def finish(self) -> None:
        """Write what is left."""
        self._put(self._flush())

    @property
    def plain_digest(self) -> str:
        """The digest of what was written."""
        return "sha256:" + self._plain.hexdigest()

    @property
    def stored_digest(self) -> str:
        """The digest of what came out."""
        return "sha256:" + self._stored.hexdigest()

    def _put(self, data: bytes) -> None:
        if data:
            self._stored.update(data)
            self.size_bytes += len(data)
            self._into(data)


def stream_damage(name: str, error: Exception) -> UserError:
    """Make the error for a person."""
    return UserError(f"{name} cannot be read: {error}", ExitCode.DAMAGED)


class _Ahead:
    """A source whose first bytes were looked at."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._held = b""

    def peek(self, size: int) -> bytes:
        while len(self._held) < size and (more := self._source.read(size - len(self._held))):
            self._held += more
        return self._held

    def read(self, size: int = -1, /) -> bytes:
        if self._held:
            size = len(self._held) if size < 0 else size
            data, self._held = self._held[:size], self._held[size:]
            return data
        return self._source.read(CHUNK_BYTES if size < 0 else size)


class _Xz:
    """An xz stream with bounded memory, several frames in a row included."""

    def __init__(self, source: Readable) -> None:
        import lzma as library

        self._lzma = library
        self._source = source
        self._expander = self._new()

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if self._expander.eof:
                rest = self._expander.unused_data.lstrip(b"\0") or self._source.read(CHUNK_BYTES)
                if not rest:
                    return b""
                self._expander = self._new()
            elif self._expander.needs_input:
                rest = self._source.read(CHUNK_BYTES)
                if not rest:
                    raise EOFError("the stream ends in the middle")
            else:
                rest = b""
            try:
                data = self._expander.decompress(rest, size)
            except self._lzma.LZMAError as error:
                raise EOFError(str(error)) from error
            if data:
                return data

    def _new(self) -> lzma.LZMADecompressor:
        return self._lzma.LZMADecompressor(self._lzma.FORMAT_XZ, XZ_MEMORY_BYTES_MAX)


class _Raw(io.RawIOBase):
    def __init__(self, source: Readable) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    # io calls it with these two; typeshed's type is any writable buffer, which cannot be sliced.
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _file(source: Readable) -> BinaryIO:
    return io.BufferedReader(_Raw(source), CHUNK_BYTES)


def _same(data: bytes) -> bytes:
    return data
