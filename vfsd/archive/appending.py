"""Put an archive behind an executable, so that the executable still runs.

An ELF file runs whatever follows it. A shell reads its script as it goes, so the script is made to
end before the archive does begin. A zip (a Python zipapp, a jar) is read from its end: the
archive goes between its members and their list, and the list's comment tells where. Other scripts
are read to their end by their interpreters and cannot carry anything.

What it is *not*: the archive (writer.py) and the file's replacement (outfile.py).

Concurrency: for one thread at a time; blocking.

Source: PKWARE's APPNOTE, "end of central directory record"; POSIX, Shell Command Language.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import NamedTuple

from vfsd.archive.damage import Damage
from vfsd.archive.layout import ALIGNMENT, TRAILER, Trailer
from vfsd.archive.opening import carries, find
from vfsd.archive.source import Source
from vfsd.archive.writer import trailer
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

PIECE_BYTES = 1 << 20
COMMENT_MAX = 65_535
LIST_MAX = 1 << 26
ZIP_END_MAGIC = b"PK\x05\x06"
ZIP_LIMIT = 0xFFFF_FFFF

# offset size type   field
#      0    4 bytes  magic            ZIP_END_MAGIC
#      4    2 u16    disk
#      6    2 u16    first_disk
#      8    2 u16    here             members listed on this disk
#     10    2 u16    members
#     12    4 u32    list_bytes
#     16    4 u32    list_offset      from the zip's start
#     20    2 u16    comment_bytes    what follows
ZIP_END = Struct("<4sHHHHIIH")

ENDINGS = {
    **dict.fromkeys((b"sh", b"bash", b"dash", b"ash", b"ksh", b"mksh", b"zsh"), b"\nexit $?\n"),
    **dict.fromkeys((b"perl", b"ruby"), b"\n__END__\n"),
}
"""What ends a script, by its interpreter."""


class Carrier(NamedTuple):
    """An executable, taken apart: what stands before an archive, and what has to follow it."""

    head_bytes: int
    """How much of the file stands before."""
    ending: bytes
    """What is added to that."""
    zip_end: bytes
    """Of a zip: the list of its members and its end, for `behind`."""


def examine(fd: int, name: str) -> Carrier:
    """Take an executable apart; an archive that it carries already is left out.

    UserError for a script or zip that cannot carry one. OSError.
    """
    size = os.fstat(fd).st_size
    start, end = _carried(fd, size, name)
    head = os.pread(fd, 4096, 0)
    if head.startswith(b"#!") and not _zip_end_at(fd, size):
        return _script(fd, head, size if start is None else start, name)
    at = _zip_end_at(fd, size)
    if at is not None:
        return _zip(fd, at, (start, end), name)
    return Carrier(size if start is None else start, b"", b"")


def copy_head(source: int, target: int, carrier: Carrier) -> int:
    """Copy what stands before the archive; return where the archive is to start. OSError."""
    done = 0
    while done < carrier.head_bytes:
        data = os.pread(source, min(PIECE_BYTES, carrier.head_bytes - done), done)
        if not data:
            raise OSError(5, os.strerror(5))
        _write(target, data, done)
        done += len(data)
    _write(target, carrier.ending, done)
    done += len(carrier.ending)
    return -(-done // ALIGNMENT) * ALIGNMENT


def write_head(target: int, head: bytes) -> int:
    """Write what stands before an archive; return where the archive is to start. OSError."""
    _write(target, head, 0)
    return -(-len(head) // ALIGNMENT) * ALIGNMENT


def finish(target: int, carrier: Carrier, start: int, length: int) -> None:
    """Write what has to follow the archive of `length` bytes at `start`. UserError, OSError."""
    if not carrier.zip_end:
        return
    end = ZIP_END.unpack(carrier.zip_end[-ZIP_END.size :])
    members = carrier.zip_end[: -ZIP_END.size]
    # The list's offset counts from the zip's own start, which stays where it was.
    moved = end[6] + start + length - carrier.head_bytes
    if moved >= ZIP_LIMIT:
        raise UserError(
            "the archive is too large to stand in a zip (4 GiB in all); append it to a program "
            "that is no zip",
            ExitCode.USAGE,
        )
    at = start + length
    archive_trailer = Trailer._make(
        TRAILER.unpack(os.pread(target, TRAILER.size, at - TRAILER.size))
    )
    block = os.pread(target, archive_trailer.root_length, start + archive_trailer.root)
    tail = members + ZIP_END.pack(*end[:6], moved, TRAILER.size)
    back = length + len(tail) + TRAILER.size
    _write(target, tail + trailer(length, archive_trailer.root, block, back), at)


def _carried(fd: int, size: int, name: str) -> tuple[int | None, int | None]:
    """Return where an archive that is there already starts and ends."""
    if not carries(os.pread(fd, 8, max(0, size - 8))):
        return None, None
    source = Source(os.dup(fd))
    try:
        find(source)
        return source.start, source.end
    except Damage as damage:
        raise damage.user_error(name) from damage
    finally:
        source.close()


def _script(fd: int, head: bytes, size: int, name: str) -> Carrier:
    words = head[2:].split(b"\n", 1)[0].split()
    programs = [os.path.basename(word) for word in words if not word.startswith(b"-")]
    program = programs[0] if programs else b""
    if program == b"env" and len(programs) > 1:
        program = programs[1]
    ending = ENDINGS.get(program)
    if ending is None:
        raise UserError(
            f"{name} is a script of {os.fsdecode(program) or 'an unknown program'}, which reads "
            "it to its end and would stumble over an archive; make it a zipapp or a program, or "
            "use --executable",
            ExitCode.USAGE,
        )
    # Of an archive that was there, the padding before it goes as well.
    tail = os.pread(fd, min(size, 2 * ALIGNMENT), max(0, size - 2 * ALIGNMENT))
    size -= len(tail) - len(tail.rstrip(b"\0"))
    if tail.rstrip(b"\0").endswith(ending):
        ending = b""
    return Carrier(size, ending, b"")


def _zip_end_at(fd: int, size: int) -> int | None:
    """Return where a zip's end record stands, None if the file is no zip."""
    window = min(size, ZIP_END.size + COMMENT_MAX)
    tail = os.pread(fd, window, size - window)
    at = tail.rfind(ZIP_END_MAGIC)
    while at >= 0:
        if len(tail) - at >= ZIP_END.size:
            comment = ZIP_END.unpack_from(tail, at)[-1]
            if at + ZIP_END.size + comment == len(tail):
                return size - window + at
        at = tail.rfind(ZIP_END_MAGIC, 0, at)
    return None


def _zip(fd: int, at: int, carried: tuple[int | None, int | None], name: str) -> Carrier:
    record = os.pread(fd, ZIP_END.size, at)
    fields = ZIP_END.unpack(record)
    list_bytes, list_offset = fields[5], fields[6]
    if list_offset == ZIP_LIMIT or fields[4] == 0xFFFF or list_bytes > LIST_MAX:
        raise UserError(
            f"{name} is a zip of the large kind (zip64), which cannot carry an archive",
            ExitCode.USAGE,
        )
    list_at = at - list_bytes
    if list_at < 0 or list_offset > list_at:
        raise UserError(f"{name} is a damaged zip", ExitCode.DAMAGED)
    members = os.pread(fd, list_bytes, list_at)
    start, end = carried
    head_bytes = list_at
    if start is not None and end is not None and end <= list_at:
        # The members' list moves back to where it was.
        head_bytes = start
        list_offset -= list_at - start
    packed = ZIP_END.pack(*fields[:6], list_offset, 0)
    return Carrier(head_bytes, b"", members + packed)


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        offset += count
        view = view[count:]
