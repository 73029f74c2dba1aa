"""Reading and writing whole files of any size, as steps that both clients share.

Concurrency: pure generators.
"""

from __future__ import annotations

import errno
import os

from vfsd.control import calls
from vfsd.control.calls import Steps
from vfsd.control.framing import DATA_LIMIT_BYTES


def read_bytes(path: bytes) -> Steps[bytes]:
    """Return the data of a file: in one request if it is small."""
    try:
        data: bytes = yield calls.read_file(path)
        return data
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
    fd, _ = yield calls.open_file(path, os.O_RDONLY, 0)
    parts: list[bytes] = []
    offset = 0
    try:
        while True:
            part: bytes = yield calls.read(fd, offset, DATA_LIMIT_BYTES)
            if not part:
                break
            parts.append(part)
            offset += len(part)
    except ConnectionError:
        raise
    except OSError:
        yield calls.close(fd)
        raise
    yield calls.close(fd)
    return b"".join(parts)


def write_bytes(path: bytes, data: bytes, mode: int) -> Steps[None]:
    """Make or replace a file; others see the old or the new one whole."""
    if len(data) <= DATA_LIMIT_BYTES:
        yield calls.write_file(path, data, mode)
        return
    above, _, name = path.rstrip(b"/").rpartition(b"/")
    fd: int = yield calls.stage(above, b"")
    try:
        yield from write_range(fd, 0, data)
        yield calls.commit(fd, name, mode, None, keep=True)
    except ConnectionError:
        raise
    except OSError:
        yield from close_quietly(fd)
        raise


def write_range(fd: int, offset: int, data: bytes | memoryview) -> Steps[None]:
    """Write all of `data` at `offset`, in as many messages as it takes."""
    view = memoryview(data)
    while view:
        part = bytes(view[:DATA_LIMIT_BYTES])
        written: int = yield calls.write(fd, offset, part)
        if not 0 < written <= len(part):
            raise OSError(errno.EIO, "a write that wrote nothing")
        offset += written
        view = view[written:]


def close_quietly(fd: int) -> Steps[None]:
    """Close a file of which it does not matter any more whether it is open."""
    try:
        yield calls.close(fd)
    except ConnectionError:
        raise
    except OSError:
        return
