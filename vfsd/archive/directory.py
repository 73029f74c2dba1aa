"""The index of one directory: its page, or an index of pages where one is not enough.

A page is a msgpack array of three: the node of the first name, all names joined by ``/`` in
ascending order, and the names that are further names of a node that stands elsewhere (`LINK`
records). Names that are not such links have consecutive node numbers, so a page says hardly more
than the names themselves; and since ``/`` separates them, none can hold one.

An index is a msgpack array of two: the first name of each page joined by ``/``, and `PAGE`
records. A big directory costs a look at the index and one page per lookup.

Concurrency: pure functions and immutable values.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt
from typing import Any

from vfsd.archive.damage import Damage
from vfsd.archive.layout import (
    LINK,
    NAME_MAX,
    NODES_MAX,
    PAGE,
    PAGE_BYTES_MAX,
    PAGE_NAMES_MAX,
    ROOT_NODE,
)
from vfsd.codec import CodecError, decode_flat, encode


@dataclass(frozen=True, slots=True)
class Page:
    """Names in ascending order, and the node of each."""

    names: list[bytes]
    nodes: Sequence[int]
    links: frozenset[int]
    """The positions of names whose node stands elsewhere."""

    def position(self, name: bytes) -> int | None:
        """Return where `name` stands, None if it does not."""
        at = bisect_left(self.names, name)
        return at if at < len(self.names) and self.names[at] == name else None


@dataclass(frozen=True, slots=True)
class PageIndex:
    """The pages of a big directory: the first name of each, and where it stands."""

    firsts: list[bytes]
    places: list[tuple[int, int, bytes]]

    def page_of(self, name: bytes) -> int | None:
        """Return which page would hold `name`."""
        at = bisect_right(self.firsts, name)
        return at - 1 if at else None


def encode_page(first: int, names: Sequence[bytes], links: Sequence[tuple[int, int]]) -> bytes:
    """Return a page; `links` are positions and nodes, ascending."""
    return encode([first, b"/".join(names), b"".join(LINK.pack(*link) for link in links)])


def encode_index(firsts: Sequence[bytes], places: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Return an index of pages."""
    return encode([b"/".join(firsts), b"".join(PAGE.pack(*place) for place in places)])


def decode_page(block: bytes | bytearray, offset: int, owner: int, nodes: int) -> Page:
    """Read a page of directory `owner` in an archive of `nodes` nodes. Damage."""
    if len(block) > PAGE_BYTES_MAX:
        raise Damage("a page of a directory is too long", offset)
    first, joined, packed = _fields(block, (int, bytes, bytes), offset)
    names = _split(joined, PAGE_NAMES_MAX, offset)
    if len(packed) % LINK.size or len(packed) // LINK.size > len(names):
        raise Damage("the links in a directory have an impossible length", offset)
    links = dict(LINK.iter_unpack(packed))
    own = len(names) - len(links)
    if len(links) * LINK.size != len(packed) or any(at >= len(names) for at in links):
        raise Damage("a link in a directory has an impossible position", offset)
    if own and not owner < first <= first + own - 1 <= nodes:
        raise Damage("a directory's nodes are not such as may stand below it", offset)
    if not links:
        return Page(names, range(first, first + own), frozenset())
    if any(not ROOT_NODE < node <= nodes for node in links.values()):
        raise Damage("a link in a directory leads to no node", offset)
    numbers: list[int] = []
    for position in range(len(names)):
        linked = links.get(position)
        numbers.append(first if linked is None else linked)
        first += linked is None
    return Page(names, numbers, frozenset(links))


def decode_index(block: bytes | bytearray, offset: int) -> PageIndex:
    """Read an index of pages. Damage."""
    joined, packed = _fields(block, (bytes, bytes), offset)
    if len(packed) % PAGE.size:
        raise Damage("the pages of a directory have an impossible length", offset)
    firsts = _split(joined, len(packed) // PAGE.size, offset)
    if len(firsts) * PAGE.size != len(packed):
        raise Damage("a directory has other numbers of pages and of their names", offset)
    return PageIndex(firsts, list(PAGE.iter_unpack(packed)))


def _fields(block: bytes | bytearray, kinds: tuple[type, ...], offset: int) -> list[Any]:
    try:
        fields = decode_flat(block, len(kinds))
    except CodecError as error:
        raise Damage(f"a directory's block is {error}", offset) from error
    if len(fields) != len(kinds) or any(
        type(field) is not kind for field, kind in zip(fields, kinds, strict=True)
    ):
        raise Damage("a directory's block has other fields than it should", offset)
    if kinds[0] is int and not 0 <= fields[0] <= NODES_MAX:
        raise Damage("a directory's first node is no node number", offset)
    return fields


def _split(joined: bytes, names_max: int, offset: int) -> list[bytes]:
    """Return the names, which are valid, ascending, and none twice."""
    if not joined:
        return []
    # Counted first: each name becomes an object much larger than itself.
    if joined.count(b"/") >= names_max:
        raise Damage("a directory's block has more names than it may", offset)
    names = joined.split(b"/")
    if b"\0" in joined or b"" in names or b"." in names or b".." in names:
        raise Damage("a directory holds a name that is none", offset)
    if max(map(len, names)) > NAME_MAX:
        raise Damage(f"a directory holds a name of more than {NAME_MAX} bytes", offset)
    if not all(map(lt, names, islice(names, 1, None))):
        raise Damage("a directory's names are not in order, or one is there twice", offset)
    return names
