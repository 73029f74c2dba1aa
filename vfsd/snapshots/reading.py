"""Reading a view's files: all of what was asked for, and past holes without reading them.

Concurrency: blocking calls in the caller's thread.

Source: lseek(2) on SEEK_DATA.
"""

from __future__ import annotations

import errno
import heapq
import io
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from vfsd.snapshots.view import KnowsHoles

STEP_BYTES = 1 << 20
"""How far data is taken to reach where only its beginning is known."""


def read_full(read: Callable[[int], bytes | None], size: int) -> bytes:
    """Read until `size` bytes are there or the file ends: a raw file may give less."""
    data = read(size) or b""
    while data and len(data) < size:
        more = read(size - len(data))
        if not more:
            break
        data += more
    return data


def data_ranges(source: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of what is no hole, as far as the file system tells."""
    if isinstance(source, KnowsHoles):
        yield from _known_ranges(source, size)
        return
    try:
        fd = source.fileno()
    except io.UnsupportedOperation:
        yield 0, size
        return
    offset = 0
    while offset < size:
        start, end = _next_data(fd, offset, size)
        if start < end:
            yield start, end
        offset = end


def _known_ranges(source: KnowsHoles, size: int) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset < size:
        start = source.next_data(offset)
        if start is None or start >= size:
            return
        offset = min(start + STEP_BYTES, size)
        yield start, offset


def _next_data(fd: int, offset: int, size: int) -> tuple[int, int]:
    try:
        start = os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        # ENXIO: there is nothing but a hole; anything else: the file system does not tell.
        return (size, size) if error.errno == errno.ENXIO else (offset, size)
    return start, min(os.lseek(fd, start, os.SEEK_HOLE), size)


def either(
    one: Iterator[tuple[int, int]], other: Iterator[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Yield what is in one of two series of ranges, or in both, in order and without overlap."""
    start = end = -1
    for begin, stop in heapq.merge(one, other):
        if begin > end:
            if start < end:
                yield start, end
            start = begin
        end = max(end, stop)
    if start < end:
        yield start, end
