"""A persistent map from numbers to objects: node numbers to records, indices to chunks.

A radix tree of pages with 64 places. A copy shares all pages; a change copies the pages on
its way that are not owned (see ownership.py), at most one per level. Sparse numbers cost one
path of pages each; pages that become empty are cut off, so numbers that are never used again
cost nothing.

Concurrency: see ownership.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from providers.memory.ownership import Owner

BITS = 6
FANOUT = 1 << BITS
MASK = FANOUT - 1

T = TypeVar("T")


class Page(Generic[T]):
    """64 places: values on the lowest level, pages above it; the other list is empty."""

    __slots__ = ("owner", "pages", "taken", "values")

    def __init__(self, owner: Owner, *, lowest: bool) -> None:
        self.owner = owner
        self.taken = 0
        self.pages: list[Page[T] | None] = [] if lowest else [None] * FANOUT
        self.values: list[T | None] = [None] * FANOUT if lowest else []

    def copied(self, owner: Owner) -> Page[T]:
        """Return a twin for `owner`."""
        twin: Page[T] = Page.__new__(Page)
        twin.owner = owner
        twin.taken = self.taken
        twin.pages = self.pages.copy()
        twin.values = self.values.copy()
        owner.counters.copied_pages += 1
        return twin


class NumberMap(Generic[T]):
    """Numbers from 0 up, each with a value that is not None."""

    __slots__ = ("_limit", "_root", "_shift", "count")

    def __init__(self, owner: Owner) -> None:
        self._root: Page[T] = Page(owner, lowest=True)
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
            below = page.pages[number >> shift & MASK]
            if below is None:
                return None
            page = below
            shift -= BITS
        return page.values[number & MASK]

    def put(self, number: int, value: T, owner: Owner) -> None:
        """Set or replace a value."""
        while number >= self._limit:
            self._grow(owner)
        page = self._root
        if page.owner is not owner:
            page = self._root = page.copied(owner)
        shift = self._shift
        while shift:
            place = number >> shift & MASK
            below = page.pages[place]
            if below is None:
                below = page.pages[place] = Page(owner, lowest=shift == BITS)
                page.taken += 1
            elif below.owner is not owner:
                below = page.pages[place] = below.copied(owner)
            page = below
            shift -= BITS
        place = number & MASK
        if page.values[place] is None:
            page.taken += 1
            self.count += 1
        page.values[place] = value

    def remove(self, number: int, owner: Owner) -> None:
        """Remove a number that is there, and the pages that it leaves empty."""
        page = self._root
        if page.owner is not owner:
            page = self._root = page.copied(owner)
        shift = self._shift
        way: list[tuple[Page[T], int]] = []
        while shift:
            place = number >> shift & MASK
            below = page.pages[place]
            assert below is not None
            if below.owner is not owner:
                below = page.pages[place] = below.copied(owner)
            way.append((page, place))
            page = below
            shift -= BITS
        page.values[number & MASK] = None
        page.taken -= 1
        self.count -= 1
        while way and not page.taken:
            page, place = way.pop()
            page.pages[place] = None
            page.taken -= 1

    def items(self) -> Iterator[tuple[int, T]]:
        """Go through all numbers in ascending order; the map must not change meanwhile."""
        return self._walk(self._root, self._shift, 0)

    def items_from(self, first: int) -> list[tuple[int, T]]:
        """Return the numbers from `first` up; cost follows their count, not the map's."""
        return list(self._walk(self._root, self._shift, first))

    def first_from(self, first: int) -> tuple[int, T] | None:
        """Return the least number from `first` up and its value, None if there is none."""
        return next(self._walk(self._root, self._shift, first), None)

    def _walk(
        self, page: Page[T], shift: int, first: int, base: int = 0
    ) -> Iterator[tuple[int, T]]:
        start = max(0, first - base >> shift)
        if not shift:
            for place in range(start, FANOUT):
                value = page.values[place]
                if value is not None:
                    yield base + place, value
            return
        for place in range(start, FANOUT):
            below = page.pages[place]
            if below is not None:
                yield from self._walk(below, shift - BITS, first, base + (place << shift))

    def _grow(self, owner: Owner) -> None:
        root: Page[T] = Page(owner, lowest=False)
        if self._root.taken:
            root.pages[0] = self._root
            root.taken = 1
        self._root = root
        self._shift += BITS
        self._limit <<= BITS
