"""Tables of records of one size, addressed by number, each block with a digest of its own.

A record is found without reading any other block; a block is believed once its digest, which
covers its number too, was checked.

Concurrency: for one thread at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any, Protocol

from vfsd.archive.damage import Damage
from vfsd.archive.layout import DIGEST, TABLE_BLOCK
from vfsd.digest import content_digest

BLOCKS_MAX = 1024
"""Blocks that a table keeps in memory."""


class Reads(Protocol):
    """What a table reads from: vfsd/archive/source.py's `Source`."""

    def read(self, offset: int, size: int) -> bytearray: ...


def records_per_block(layout: Struct) -> int:
    """Return how many records stand in one block."""
    return (TABLE_BLOCK - DIGEST) // layout.size


def table_bytes(layout: Struct, count: int) -> int:
    """Return how long a table of `count` records is."""
    return -(-count // records_per_block(layout)) * TABLE_BLOCK


def block_digest(number: int, body: bytes | bytearray | memoryview) -> bytes:
    """Return the digest of a block's body; another number gives another digest."""
    return content_digest(number.to_bytes(8, "little") + body)


def encode_table(layout: Struct, records: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a table of packed records."""
    per_block, number, block = records_per_block(layout), 0, bytearray()
    for record in records:
        block += record
        if len(block) == per_block * layout.size:
            yield _seal(number, block)
            number, block = number + 1, bytearray()
    if block:
        yield _seal(number, block)


def _seal(number: int, records: bytearray) -> bytes:
    body = bytes(records).ljust(TABLE_BLOCK - DIGEST, b"\0")
    return block_digest(number, body) + body


class Table:
    """`count` records of `layout` that start at `offset` of the source."""

    def __init__(self, source: Reads, layout: Struct, offset: int, count: int) -> None:
        self._source = source
        self._layout = layout
        self._offset = offset
        self.count = count
        self._per_block = records_per_block(layout)
        self._blocks: OrderedDict[int, bytearray] = OrderedDict()

    def record(self, index: int) -> tuple[Any, ...]:
        """Return the fields of record `index`, from 0. Damage."""
        number, slot = divmod(index, self._per_block)
        block = self._blocks.get(number)
        if block is None:
            block = self.block(number)
        return self._layout.unpack_from(block, DIGEST + slot * self._layout.size)

    def run(self, index: int, count: int) -> Iterator[tuple[Any, ...]]:
        """Yield the fields of `count` records from `index` on. Damage."""
        size = self._layout.size
        while count > 0:
            number, slot = divmod(index, self._per_block)
            some = min(count, self._per_block - slot)
            start = DIGEST + slot * size
            yield from self._layout.iter_unpack(
                memoryview(self.block(number))[start : start + some * size]
            )
            index += some
            count -= some

    def offset_of(self, index: int) -> int:
        """Return where record `index` stands, for a complaint."""
        number, slot = divmod(index, self._per_block)
        return self._offset + number * TABLE_BLOCK + DIGEST + slot * self._layout.size

    def block(self, number: int) -> bytearray:
        """Return a block, verified. Damage if it is not what was written."""
        block = self._blocks.get(number)
        if block is not None:
            return block
        if not 0 <= number * self._per_block < self.count:
            raise Damage(f"record {number * self._per_block} is beyond the table", self._offset)
        at = self._offset + number * TABLE_BLOCK
        block = self._source.read(at, TABLE_BLOCK)
        if block_digest(number, memoryview(block)[DIGEST:]) != block[:DIGEST]:
            raise Damage("a block of a table does not match its digest", at)
        self._blocks[number] = block
        if len(self._blocks) > BLOCKS_MAX:
            self._blocks.popitem(last=False)
        return block
