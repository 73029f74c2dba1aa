"""Copying one file's data into a descriptor, with its holes.

Concurrency: blocking calls in the caller's thread.

Sources: copy_file_range(2), lseek(2) on SEEK_DATA.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from typing import BinaryIO

from vfsd.errors import fail
from vfsd.snapshots.reading import data_ranges, read_full

CHUNK_BYTES = 1 << 20
_HOLE_BYTES = 1 << 12
_ZEROS = bytes(_HOLE_BYTES)
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)


def copy_data(source: BinaryIO, target: int, size: int, told: Callable[[int], None]) -> None:
    """Copy `size` bytes to the start of the empty file `target`; tell how many went over.

    Holes stay holes. EIO if the source ends before: it changed meanwhile.
    """
    try:
        fd = source.fileno()
    except io.UnsupportedOperation:
        _copy_stream(source, target, size, told)
    else:
        _copy_descriptor(source, fd, target, size, told)
    os.ftruncate(target, size)


def write_sparsely(target: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`, but leave out blocks of zeros."""
    view = memoryview(data)
    start = 0
    while start < len(data):
        end = _run(data, start)
        if not _is_hole(data, start):
            _write_all(target, view[start:end], offset + start)
        start = end


def _run(data: bytes, start: int) -> int:
    """Return where the blocks that begin at `start` and are all holes, or all not, end."""
    hole = _is_hole(data, start)
    end = start + _HOLE_BYTES
    while end < len(data) and _is_hole(data, end) == hole:
        end += _HOLE_BYTES
    return min(end, len(data))


def _is_hole(data: bytes, start: int) -> bool:
    block = data[start : start + _HOLE_BYTES]
    return block == _ZEROS[: len(block)]


def _write_all(target: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(target, data, offset)
        data, offset = data[done:], offset + done


def _copy_stream(source: BinaryIO, target: int, size: int, told: Callable[[int], None]) -> None:
    for start, end in data_ranges(source, size):
        source.seek(start)
        while start < end:
            data = read_full(source.read, min(CHUNK_BYTES, end - start))
            if not data:
                raise fail(errno.EIO)
            write_sparsely(target, data, start)
            start += len(data)
            told(len(data))


def _copy_descriptor(
    source: BinaryIO, fd: int, target: int, size: int, told: Callable[[int], None]
) -> None:
    if os.fstat(fd).st_size != size:
        raise fail(errno.EIO)
    for start, end in data_ranges(source, size):
        try:
            _copy_range(fd, target, start, end, told)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            _copy_stream(source, target, size, told)
            return


def _copy_range(fd: int, target: int, start: int, end: int, told: Callable[[int], None]) -> None:
    while start < end:
        done = os.copy_file_range(fd, target, min(end - start, CHUNK_BYTES << 5), start, start)
        if not done:
            raise fail(errno.EIO)
        start += done
        told(done)
