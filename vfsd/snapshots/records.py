"""Records of the store: a msgpack value with a head that tells damage from a newer version.

    offset size field
    0      8    magic: ``vfsdREC`` and a NUL
    8      4    version of the record's meaning, little-endian
    12     4    length of the value in bytes, little-endian
    16     16   xxh3-128 digest of bytes 0 to 15 and of the value
    32     ...  the value: a msgpack map

The head never changes its shape, so that a flipped bit is always told from an unknown version.
A record is written once and replaced whole, by rename.

What it is *not*: what the records mean (kept.py), or where they lie (place.py).

Concurrency: pure functions; `write` is atomic only in that it makes a new file.
"""

from __future__ import annotations

import errno
import os
import struct

from vfsd.codec import CodecError, decode, encode
from vfsd.digest import DIGEST_SIZE, content_digest
from vfsd.errors import fail
from vfsd.snapshots.refusals import Damaged, UnknownVersion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
MAGIC = b"vfsdREC\0"
HEAD = struct.Struct(f"<8sII{DIGEST_SIZE}s")
_DIGESTED_HEAD_BYTES = HEAD.size - DIGEST_SIZE


def pack(value: dict[str, Any], version: int = VERSION) -> bytes:
    """Return the record that holds `value`."""
    payload = encode(value)
    head = struct.pack("<8sII", MAGIC, version, len(payload))
    return head + content_digest(head + payload) + payload


def unpack(data: bytes, name: str) -> dict[str, Any]:
    """Return the value of a record; `name` is the file that an error names. Damaged."""
    if len(data) < HEAD.size:
        raise Damaged(f"{name} is damaged: it ends too early")
    magic, version, length, digest = HEAD.unpack_from(data)
    payload = data[HEAD.size :]
    if (
        magic != MAGIC
        or len(payload) != length
        or content_digest(data[:_DIGESTED_HEAD_BYTES] + payload) != digest
    ):
        raise Damaged(f"{name} is damaged: its digest does not agree with what it holds")
    if version != VERSION:
        raise UnknownVersion(
            f"{name} has the unknown version {version}, and this vfsd reads {VERSION}:"
            " it was written by a newer one"
        )
    try:
        value = decode(payload)
    except CodecError as error:
        raise Damaged(f"{name} is damaged: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise Damaged(f"{name} is damaged: it holds no map")
    return value


def read(path: str) -> dict[str, Any]:
    """Return the value of the record at `path`. Damaged, FileNotFoundError."""
    with open(path, "rb") as file:
        data = file.read()
    return unpack(data, path)


def write(path: str, value: dict[str, Any], *, durable: bool) -> None:
    """Make the record at `path`, which must not exist; on disk when it returns if `durable`."""
    write_new(path, pack(value), durable=durable)


def write_new(path: str, data: bytes, *, durable: bool) -> None:
    """Make a file; with `durable` its content, not yet its name, is on disk afterwards."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        if durable:
            os.fsync(fd)
    except OSError as error:
        os.unlink(path)
        raise fail(error.errno or errno.EIO, path) from error
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Have the names in a directory on disk. EIO."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
