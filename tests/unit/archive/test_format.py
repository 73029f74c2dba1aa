"""docs/FORMAT.md says what the code does: every table, every limit, and the example."""

from __future__ import annotations

import os
import re
import stat
import struct

import pytest

from tests.tidy.files import ROOT
from vfsd.archive import layout
from vfsd.archive.opening import FIELDS
from vfsd.archive.outfile import OutFile
from vfsd.archive.table import records_per_block
from vfsd.archive.writer import ArchiveWriter, Attributes

DOCUMENT = (ROOT / "docs" / "FORMAT.md").read_text()
TABLES = {
    "Header": layout.HEADER,
    "Trailer": layout.TRAILER,
    "An inode: 96 bytes, 42 in a block": layout.INODE,
    "A frame: 40 bytes, 102 in a block": layout.FRAME,
    "Regular files": layout.EXTENT,
    "Directories": layout.LINK,
    "indexed": layout.PAGE,
}
TYPES = {"H": "u16", "I": "u32", "Q": "u64", "q": "i64", "B": "u8"}
NAMED_TUPLES = {"Trailer": layout.Trailer, "An inode: 96 bytes, 42 in a block": layout.Inode}


def documented(place: str) -> list[tuple[int, int, str, str]]:
    """Return the first byte table after the heading or word."""
    at = DOCUMENT.index("**indexed**") if place == "indexed" else DOCUMENT.index(f"# {place}\n")
    table = DOCUMENT[DOCUMENT.index("| Offset |", at) :].split("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \| (\w+) \|", table, re.MULTILINE)
    return [(int(offset), int(size), kind, field) for offset, size, kind, field in rows]


def implemented(packed: struct.Struct) -> list[tuple[int, int, str]]:
    rows, offset = [], 0
    for count, code in re.findall(r"(\d*)([A-Za-z])", packed.format.lstrip("<")):
        if code == "s":
            rows.append((offset, int(count), "bytes"))
            offset += int(count)
            continue
        for _ in range(int(count or 1)):
            size = struct.calcsize("<" + code)
            rows.append((offset, size, TYPES[code]))
            offset += size
    assert offset == packed.size
    return rows


@pytest.mark.parametrize("place", TABLES)
def test_a_byte_table_is_the_struct(place):
    assert [row[:3] for row in documented(place)] == implemented(TABLES[place])


@pytest.mark.parametrize("place", NAMED_TUPLES)
def test_fields_have_the_names_of_the_document(place):
    assert tuple(row[3] for row in documented(place)) == NAMED_TUPLES[place]._fields


def test_comments_in_the_layout_are_the_same_tables():
    source = (ROOT / "vfsd" / "archive" / "layout.py").read_text()
    rows = re.findall(r"^# +(\d+) +(\d+) (\w+) +(\w+)", source, re.MULTILINE)
    told = [(int(offset), int(size), kind, field) for offset, size, kind, field in rows]
    assert told == [row for place in TABLES for row in documented(place)]


def test_magics_and_limits_are_told():
    for magic in (layout.HEADER_MAGIC, layout.TRAILER_MAGIC):
        assert f"`{magic.hex(' ')}`" in DOCUMENT
    assert f"version {layout.MAJOR}.{layout.MINOR}" in DOCUMENT
    assert f"({layout.FRAME_BYTES:,} as vfsd writes it)" in DOCUMENT
    assert f"4096 to {layout.FRAME_BYTES_MAX:,}" in DOCUMENT
    assert f"at most {layout.PAGE_NAMES_MAX} names" in DOCUMENT
    assert f"at most {layout.PAGE_BYTES_MAX:,}" in DOCUMENT
    assert (records_per_block(layout.INODE), records_per_block(layout.FRAME)) == (42, 102)


def test_the_root_block_is_told():
    at = DOCUMENT.index("### Root block")
    table = DOCUMENT[at : DOCUMENT.index("### Tables")]
    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == FIELDS


def test_codecs_are_told():
    for name in ("raw", "zlib", "zstd", "xz"):
        codec = getattr(layout, f"CODEC_{name.upper()}")
        assert re.search(rf"\| codec \|.*\b{codec} {name}\b", DOCUMENT)


def test_the_example_is_what_is_written(tmp_path):
    path = tmp_path / "example.vfsa"
    with OutFile(path) as out, ArchiveWriter(out.fd) as writer:
        writer.add_directory(b"", Attributes(stat.S_IFDIR | 0o755))
        writer.add_file(b"a", Attributes(stat.S_IFREG | 0o644), [b"hi\n"])
        writer.finish()
        out.commit()
    at = DOCUMENT.index("## An example")
    example = DOCUMENT[at:].split("```text\n")[1].split("```")[0]
    assert example == hexdump(path.read_bytes())


def hexdump(data: bytes) -> str:
    """Show bytes as `hexdump -C` does."""
    lines, last, squeezed = [], None, False
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        if row == last and len(row) == 16:
            if not squeezed:
                lines.append("*")
            squeezed = True
            continue
        last, squeezed = row, False
        halves = "  ".join(row[part : part + 8].hex(" ") for part in (0, 8) if row[part:])
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {halves:<48}  |{text}|")
    return "\n".join([*lines, f"{len(data):08x}"]) + os.linesep
