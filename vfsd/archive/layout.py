"""The archive format's numbers: every magic, limit, and fixed byte layout, and nothing else.

docs/FORMAT.md carries the same tables with the meaning of each field, and a test compares
them. All integers are little-endian; offsets count from the archive's first byte unless a field
says otherwise.

Concurrency: constants.
"""

from __future__ import annotations

import stat as stat_module
from struct import Struct
from typing import NamedTuple

MAJOR = 1
"""A reader refuses another major version."""

MINOR = 0
"""A reader accepts any minor version: later ones only add what may be ignored."""

ALIGNMENT = 4096
"""The archive's first byte, tables, and stored data of at least this size start at multiples."""

HEADER_MAGIC = b"\x89VFSA\r\n\x1a"
TRAILER_MAGIC = b"\x1aVFSAend"

# offset size type   field
#      0    8 bytes  magic            HEADER_MAGIC
#      8    2 u16    major
#     10    2 u16    minor
#     12    4 u32    flags            0
#     16    8 i64    created_s        seconds since the epoch, 0 if not told
#     24   24 bytes  reserved         zeros
#     48   16 bytes  digest           xxh3-128 of the 48 bytes before
HEADER = Struct("<8sHHIq24s16s")

# offset size type   field
#      0    8 u64    start_back       from the trailer's end back to the archive's first byte
#      8    8 u64    length           of the archive, its own trailer included
#     16    8 u64    root             offset of the root block
#     24    4 u32    root_length
#     28    2 u16    major
#     30    2 u16    minor
#     32   16 bytes  root_digest      xxh3-128 of the root block
#     48    8 u64    check            xxh3-64 of the 48 bytes before
#     56    8 bytes  magic            TRAILER_MAGIC
TRAILER = Struct("<QQQIHH16sQ8s")

# A table is a run of blocks of TABLE_BLOCK bytes: the digest of the rest of the block together
# with its number (u64), then as many records as fit, then zeros.
TABLE_BLOCK = 4096
DIGEST = 16

# offset size type   field
#      0    4 u32    mode             file type and permission bits, as st_mode
#      4    4 u32    nlink
#      8    4 u32    uid
#     12    4 u32    gid
#     16    8 i64    mtime_s
#     24    4 u32    mtime_ns         below 10**9
#     28    4 u32    skip             regular: where it starts in its first frame
#     32    8 u64    size             regular: bytes; symlink: bytes of the target; device:
#                                     its number; directory: the node of its parent
#     40    8 u64    place            regular: its first frame, or (SPARSE) its map's offset;
#                                     symlink, directory: its block's offset
#     48    4 u32    stored           bytes of that block
#     52    4 u32    flags            SPARSE, INDEXED
#     56    8 u64    xattrs           offset of the block of extended attributes, 0 if none
#     64    4 u32    xattrs_length
#     68    4 u32    reserved         0
#     72    8 u64    allocated        bytes that are not holes, for st_blocks
#     80   16 bytes  digest           of a regular file's content; else of the block
INODE = Struct("<IIIIqIIQQIIQIIQ16s")

# offset size type   field
#      0    8 u64    offset           of the stored bytes
#      8    4 u32    stored           their number
#     12    4 u32    length           bytes when plain, at most the archive's frame_bytes
#     16    1 u8     codec            CODEC_...
#     17    7 bytes  reserved         zeros
#     24   16 bytes  digest           xxh3-128 of the plain bytes
FRAME = Struct("<QIIB7s16s")

# One extent in the map of a sparse file.
# offset size type   field
#      0    8 u64    offset           in the file
#      8    8 u64    length
#     16    8 u64    frame            the first of its frames
EXTENT = Struct("<QQQ")

# What follows an extent's bytes in the digest of a sparse file: its offset and length.
EXTENT_PLACE = Struct("<QQ")

# A page's name that is another name of a node that stands elsewhere.
# offset size type   field
#      0    4 u32    position         of the name in the page
#      4    8 u64    node
LINK = Struct("<IQ")

# A page of a directory of more than one page.
# offset size type   field
#      0    8 u64    offset
#      8    4 u32    length
#     12   16 bytes  digest           xxh3-128 of the page
PAGE = Struct("<QI16s")

CODEC_RAW, CODEC_ZLIB, CODEC_ZSTD, CODEC_XZ = 0, 1, 2, 3

FLAG_SPARSE = 1
"""The content is the extents of a map; what lies between them reads as zeros."""

FLAG_INDEXED = 2
"""The directory's block is an index of pages, and not a page."""

ROOT_NODE = 1
FRAME_BYTES = 131_072
"""What a writer gives frames."""

FRAME_BYTES_MAX = 1 << 20
"""A reader refuses larger frames: it never allocates more than the file's size or this."""

PAGE_NAMES_MAX = 512
PAGE_BYTES_MAX = 1 << 18
ROOT_BLOCK_MAX = 4096
XATTRS_MAX = 1 << 22
XATTR_NAMES_MAX = 4096
TARGET_MAX = 4095
NAME_MAX = 255
NODES_MAX = (1 << 48) - 1
SIZE_MAX = (1 << 63) - 1
NANOSECONDS = 1_000_000_000

DIRECTORY, REGULAR, SYMLINK = stat_module.S_IFDIR, stat_module.S_IFREG, stat_module.S_IFLNK
FIFO, SOCKET = stat_module.S_IFIFO, stat_module.S_IFSOCK
CHARACTER, BLOCK = stat_module.S_IFCHR, stat_module.S_IFBLK
KINDS = frozenset({DIRECTORY, REGULAR, SYMLINK, FIFO, SOCKET, CHARACTER, BLOCK})


class Trailer(NamedTuple):
    """A `TRAILER`, its fields in order."""

    start_back: int
    length: int
    root: int
    root_length: int
    major: int
    minor: int
    root_digest: bytes
    check: int
    magic: bytes


class Inode(NamedTuple):
    """An `INODE`, its fields in order; what each means depends on the file type in `mode`."""

    mode: int
    nlink: int
    uid: int
    gid: int
    mtime_s: int
    mtime_ns: int
    skip: int
    size: int
    place: int
    stored: int
    flags: int
    xattrs: int
    xattrs_length: int
    reserved: int
    allocated: int
    digest: bytes

    @property
    def kind(self) -> int:
        """The file type, one of `KINDS`."""
        return self.mode & 0o170000


class Frame(NamedTuple):
    """A `FRAME`, its fields in order."""

    offset: int
    stored: int
    length: int
    codec: int
    reserved: bytes
    digest: bytes
