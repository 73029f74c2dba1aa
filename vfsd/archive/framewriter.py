"""Frames in the making: compressed by several threads, written in order.

A frame is stored compressed only if that saves an eighth of it; expanding costs more than reading
the little that would be saved.

Concurrency: used by one thread; the compressing threads are its own, and the order in which they
end makes no difference to what is written.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from vfsd.archive.compression import compress
from vfsd.archive.layout import ALIGNMENT, CODEC_RAW, FRAME
from vfsd.archive.stream import Stream
from vfsd.digest import content_digest

_NOTHING = bytes(7)


class Method(NamedTuple):
    """How frames are compressed: a `CODEC_...` and its level."""

    codec: int
    level: int


class Packed(NamedTuple):
    """A frame ready to be written."""

    data: bytes
    codec: int
    length: int
    digest: bytes


class Mark(NamedTuple):
    """A state to which `rewind` returns."""

    frames: int
    offset: int


class FrameWriter:
    """Appends frames to a stream; `close` it."""

    def __init__(self, stream: Stream, method: Method, workers: int | None = None) -> None:
        self._stream = stream
        self._method = method
        self._workers = workers or len(os.sched_getaffinity(0))
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[int, Future[Packed]]] = deque()
        self.records: list[bytes] = []

    def reserve(self) -> int:
        """Return the number of a frame that is `put` later."""
        self.records.append(b"")
        return len(self.records) - 1

    def put(self, number: int, plain: bytes) -> None:
        """Store the reserved frame `number`."""
        if self._method.codec == CODEC_RAW or self._workers == 1:
            self._write(number, _pack(plain, self._method))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, "vfsd-pack")
        self._waiting.append((number, self._pool.submit(_pack, plain, self._method)))
        if len(self._waiting) > 2 * self._workers:
            self._write_first()

    def mark(self) -> Mark:
        """Return where the frames are, once all are written."""
        self.drain()
        return Mark(len(self.records), self._stream.offset)

    def rewind(self, mark: Mark) -> None:
        """Forget the frames since `mark`."""
        self.drain()
        del self.records[mark.frames :]
        self._stream.rewind(mark.offset)

    def drain(self) -> None:
        """Write every frame that was put."""
        while self._waiting:
            self._write_first()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _write_first(self) -> None:
        number, future = self._waiting.popleft()
        self._write(number, future.result())

    def _write(self, number: int, packed: Packed) -> None:
        if packed.codec == CODEC_RAW and packed.length >= ALIGNMENT:
            self._stream.align()
        offset = self._stream.write(packed.data)
        self.records[number] = FRAME.pack(
            offset, len(packed.data), packed.length, packed.codec, _NOTHING, packed.digest
        )


def _pack(plain: bytes, method: Method) -> Packed:
    digest = content_digest(plain)
    if method.codec != CODEC_RAW:
        data = compress(plain, method.codec, method.level)
        if len(data) <= len(plain) - len(plain) // 8 - 1:
            return Packed(data, method.codec, len(plain), digest)
    return Packed(plain, CODEC_RAW, len(plain), digest)
