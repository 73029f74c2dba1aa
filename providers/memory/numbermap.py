"""A persistent map from numbers to objects: node numbers to records, indices to chunks.

A radix tree of pages with 64 places. A copy shares all pages; a change copies the pages on
its way that are not owned (see ownership.py), at most one per level. Sparse numbers cost one
path of pages each; pages that become empty are cut off, so numbers that are never used again
cost nothing.

A page is a list: 64 places, then its `Owner`, then how many places are taken. A plain list is
what the interpreter indexes fastest, and this is on the way of every request.

Concurrency: see ownership.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from providers.memory.ownership import Owner

BITS = 6
FANOUT = 1 << BITS
MASK = FANOUT - 1
OWNER = FANOUT
TAKEN = FANOUT + 1

T = TypeVar("T")
Page = list[Any]  # mixed by design: children or values, then the owner and the count


def _new_page(owner: Owner) -> Page:
    return [None] * FANOUT + [owner, 0]


class NumberMap(Generic[T]):
    """Numbers from 0 up, each with a value that is not None."""

    __slots__ = ("_limit", "_root", "_shift", "count")

    def __init__(self, owner: Owner) -> None:
        self._root: Page = _new_page(owner)
        self._shift = 0
        self._limit = FANOUT
        self.count = 0

    def share(self) -> NumberMap[T]:
        """Return a map with the same content; the owner of either must be changed as well."""
        twin: NumberMap[T] = NumberMap.__new__(NumberMap)
        twin._root = self._root
        twin._shift = self._shift
        twin._limit = self._limit
        twin.count = self.count
        return twin

    def get(self, number: int) -> T | None:
        """Return the value, or None."""
        if number >= self._limit:
            return None
        page = self._root
        shift = self._shift
        while shift:
            page = page[number >> shift & MASK]
            if page is None:
                return None
            shift -= BITS
        value: T | None = page[number & MASK]
        return value

    def put(self, number: int, value: T, owner: Owner) -> None:
        """Set or replace a value."""
        while number >= self._limit:
            self._grow(owner)
        page = self._root
        if page[OWNER] is not owner:
            page = self._root = _copied(page, owner)
        shift = self._shift
        while shift:
            place = number >> shift & MASK
            child = page[place]
            if child is None:
                child = page[place] = _new_page(owner)
                page[TAKEN] += 1
            elif child[OWNER] is not owner:
                child = page[place] = _copied(child, owner)
            page = child
            shift -= BITS
        place = number & MASK
        if page[place] is None:
            page[TAKEN] += 1
            self.count += 1
        page[place] = value

    def remove(self, number: int, owner: Owner) -> None:
        """Remove a number that is there, and the pages that it leaves empty."""
        page = self._root
        if page[OWNER] is not owner:
            page = self._root = _copied(page, owner)
        shift = self._shift
        way: list[tuple[Page, int]] = []
        while shift:
            place = number >> shift & MASK
            child = page[place]
            if child[OWNER] is not owner:
                child = page[place] = _copied(child, owner)
            way.append((page, place))
            page = child
            shift -= BITS
        place = number & MASK
        page[place] = None
        page[TAKEN] -= 1
        self.count -= 1
        while way and not page[TAKEN]:
            page, place = way.pop()
            page[place] = None
            page[TAKEN] -= 1

    def items(self) -> Iterator[tuple[int, T]]:
        """Go through all numbers in ascending order; the map must not change meanwhile."""
        return self._walk(self._root, self._shift, 0)

    def items_from(self, first: int) -> list[tuple[int, T]]:
        """Return the numbers from `first` up; cost follows their count, not the map's."""
        return list(self._walk(self._root, self._shift, first))

    def _walk(self, page: Page, shift: int, first: int, base: int = 0) -> Iterator[tuple[int, T]]:
        start = max(0, first - base >> shift)
        for place in range(start, FANOUT):
            child = page[place]
            if child is None:
                continue
            number = base + (place << shift)
            if shift:
                yield from self._walk(child, shift - BITS, first, number)
            else:
                yield number, child

    def _grow(self, owner: Owner) -> None:
        root = _new_page(owner)
        if self._root[TAKEN]:
            root[0] = self._root
            root[TAKEN] = 1
        self._root = root
        self._shift += BITS
        self._limit <<= BITS


def _copied(page: Page, owner: Owner) -> Page:
    copy = page.copy()
    copy[OWNER] = owner
    owner.counters.copied_pages += 1
    return copy
