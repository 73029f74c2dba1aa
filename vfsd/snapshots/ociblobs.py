"""The files of an image, by name: in a directory, or in a tar archive that can be sought in.

Names are plain: no ``..``, nothing absolute. In a directory no symlink is followed; in an archive
symlinks and hard links lead to its own other files, as `docker save` writes layers twice.

What it is *not*: their meaning (ociimage.py).

Concurrency: one file open at a time.
"""

from __future__ import annotations

import io
import os
import posixpath
from typing import BinaryIO, NamedTuple, Protocol

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.syscalls import open_beneath
from vfsd.snapshots.tarformat import LINK, REGULAR, SYMLINK
from vfsd.snapshots.tarread import TarReader

NAMES_MAX = 100_000
_LINKS_MAX = 8


class Blobs(Protocol):
    """Where an image's files are found."""

    def has(self, name: str) -> bool:
        """Say whether there is such a file."""

    def open(self, name: str) -> BinaryIO:
        """Open it for reading; the caller closes it. UserError if it is not there."""


class DirectoryBlobs:
    """The files of a directory; `close` lets go of it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)

    def has(self, name: str) -> bool:
        """Say whether there is such a file."""
        try:
            os.close(open_beneath(self._fd, os.fsencode(name), os.O_PATH))
        except OSError:
            return False
        return True

    def open(self, name: str) -> BinaryIO:
        """Open it. UserError if it is not there."""
        try:
            fd = open_beneath(self._fd, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise missing(name, self._path) from error
        return open(fd, "rb")


class _Place(NamedTuple):
    offset: int
    size: int
    link: str


class TarBlobs:
    """The files of an archive that was read once, to find where each is."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read through `file`, which stays the caller's; too many files are no image. TarError."""
        self._file = file
        self._name = name
        self._places: dict[str, _Place] = {}
        file.seek(0)
        reader = TarReader(file.read)
        for entry in reader:
            own = os.fsdecode(entry.name).removeprefix("./").rstrip("/")
            if entry.kind == REGULAR and entry.segments is None:
                self._places[own] = _Place(reader.position, entry.size, "")
            elif entry.kind in (LINK, SYMLINK):
                target = os.fsdecode(entry.target)
                if entry.kind == SYMLINK:
                    target = posixpath.join(posixpath.dirname(own), target)
                self._places[own] = _Place(0, 0, posixpath.normpath(target))
            if len(self._places) > NAMES_MAX:
                self._places.clear()
                return

    def has(self, name: str) -> bool:
        """Say whether there is such a file."""
        return name in self._places

    def open(self, name: str) -> BinaryIO:
        """Open it. UserError if it is not there."""
        place = self._places.get(name)
        for _ in range(_LINKS_MAX):
            if place is None or not place.link:
                break
            place = self._places.get(place.link)
        if place is None or place.link:
            raise missing(name, self._name)
        return io.BufferedReader(_Slice(self._file, place.offset, place.size), 1 << 20)


class _Slice(io.RawIOBase):
    """A part of a file."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._left = size

    def readable(self) -> bool:
        return True

    # io calls it with these two; typeshed's type is any writable buffer, which cannot be sliced.
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._offset)
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._offset += len(data)
        self._left -= len(data)
        return len(data)


def missing(name: str, where: str) -> UserError:
    """Make the error for a file that an image should have."""
    return UserError(f"{where} is no whole image: it has no {name!r}", ExitCode.DAMAGED)
