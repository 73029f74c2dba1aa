"""What a foreign archive holds, listed; and how a list is kept.

An index is an archive of vfsd's own. A regular file in it holds a `REFERENCE` in place of its
content, followed by the extents of a sparse file, if it is one.

Concurrency: pure functions and immutable values.
"""

from __future__ import annotations

import errno
import logging
import stat as stat_module
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import Struct
from types import MappingProxyType
from typing import NamedTuple

from vfsd.archive.writer import ArchiveWriter, Attributes

log = logging.getLogger(__name__)

# offset size type   field
#      0    8 u64    size             of the file, in bytes
#      8    8 u64    offset           in the foreign archive; of a zip, of the local header
#     16    8 u64    stored           bytes there
#     24    1 u8     method           RAW, or what zip calls it
#     25    1 u8     flags            CHECKED, LOCAL_HEADER, ENCRYPTED
#     26    2 bytes  reserved
#     28    4 u32    check            CRC-32 of the content, if CHECKED
REFERENCE = Struct("<QQQBB2sI")

# offset size type   field
#      0    8 u64    offset           in the file
#      8    8 u64    length
#     16    8 u64    place            in the foreign archive
PIECE = Struct("<QQQ")

RAW, DEFLATE, BZIP2, LZMA = 0, 8, 12, 14
CHECKED, LOCAL_HEADER, ENCRYPTED = 1, 2, 4


class Reference(NamedTuple):
    """A `REFERENCE`, its fields in order."""

    size: int
    offset: int
    stored: int
    method: int = RAW
    flags: int = 0
    reserved: bytes = b"\0\0"
    check: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """One file: what it is, and for a regular one where its content is."""

    attributes: Attributes
    reference: Reference | None = None
    pieces: tuple[tuple[int, int, int], ...] = ()
    target: bytes = b""
    """Of a symlink; of a further name, the path of the first one."""
    xattrs: Mapping[bytes, bytes] = field(default_factory=lambda: MappingProxyType({}))
    is_link: bool = False


class Listing(dict[bytes, Listed]):
    """Files by path; a path that no tree can have is counted and left out."""

    left_out = 0

    def note(self, path: bytes | None, listed: Listed) -> None:
        """Add a file; the last one of a name counts, where the first one stood."""
        if path is None:
            self.left_out += 1
        else:
            self[path] = listed


def clean(path: bytes) -> bytes | None:
    """Return a path as a tree can have it, None if it would lead out of it or is none."""
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if any(name == b".." or b"\0" in name or len(name) > 255 for name in names):
        return None
    return b"/".join(names)


def write_index(writer: ArchiveWriter, listing: Listing) -> int:
    """Write what is listed, and return how much could not stand in a tree."""
    left_out = listing.left_out
    for path, listed in listing.items():
        if not path or not stat_module.S_ISDIR(listed.attributes.mode) or listed.is_link:
            continue
        left_out += not _added(writer, path, listed)
    others = [item for item in listing.items() if not stat_module.S_ISDIR(item[1].attributes.mode)]
    # Further names last: what they are names of may come later.
    for path, listed in sorted(others, key=lambda item: item[1].is_link):
        left_out += not _added(writer, path, listed)
    return left_out


def _added(writer: ArchiveWriter, path: bytes, listed: Listed) -> bool:
    try:
        _add(writer, path, listed)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        log.info("%r is left out: %s", path, error.strerror)
        return False
    return True


def _add(writer: ArchiveWriter, path: bytes, listed: Listed) -> None:
    mode = listed.attributes.mode
    if listed.is_link:
        writer.add_link(path, listed.target)
    elif stat_module.S_ISDIR(mode):
        writer.add_directory(path, listed.attributes, listed.xattrs)
    elif stat_module.S_ISLNK(mode):
        writer.add_symlink(path, listed.attributes, listed.target, listed.xattrs)
    elif listed.reference is not None:
        writer.add_file(
            path,
            listed.attributes,
            _packed(listed),
            listed.xattrs,
            unique=not listed.reference.size,
        )
    else:
        writer.add_special(path, listed.attributes, listed.xattrs)


def _packed(listed: Listed) -> Iterable[bytes]:
    assert listed.reference is not None
    yield REFERENCE.pack(*listed.reference)
    yield b"".join(PIECE.pack(*piece) for piece in listed.pieces)
