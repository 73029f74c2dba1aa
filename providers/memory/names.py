"""A persistent map from names to node numbers: the content of one directory.

A small directory is one dict (a `Leaf`), in the order in which names came. Past `SPLIT`
names it becomes a `Branch` of 16 parts by the name's hash, and so on per part, so that the
first change after a snapshot copies a few hundred names of a directory with 200,000, not all.
The order of a listing is stable as long as nothing changes. Names are hashed with the
interpreter's secret, so nobody can choose names that meet in one part.

Concurrency: see ownership.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from providers.memory.ownership import Owner

SPLIT = 256
"""Names in one leaf before it is split."""
BITS = 4
MASK = (1 << BITS) - 1
DEPTH_LIMIT = 12
"""Levels of branches; 16**12 parts are more than there can be names."""


class Leaf(dict[bytes, int]):
    """Names and numbers in one dict."""

    __slots__ = ("owner",)

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self.owner = owner


class Branch:
    """16 parts by four bits of the hash; None where there is no name."""

    __slots__ = ("owner", "parts")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.parts: list[Leaf | Branch | None] = [None] * (1 << BITS)


Names = Leaf | Branch


def get(names: Names, name: bytes) -> int | None:
    """Return the number that `name` stands for, or None."""
    if type(names) is Leaf:
        return names.get(name)
    bits = hash(name)
    part: Names | None = names
    while type(part) is Branch:
        part = part.parts[bits & MASK]
        bits >>= BITS
    return part.get(name) if type(part) is Leaf else None


def put(names: Names, name: bytes, number: int, owner: Owner) -> Names:
    """Set or replace a name; return the map to keep from now on."""
    if names.owner is not owner:
        names = _copied(names, owner)
    top = names
    bits = hash(name)
    above: Branch | None = None
    place = 0
    depth = 0
    while type(names) is Branch:
        above, place = names, bits & MASK
        bits >>= BITS
        depth += 1
        part = names.parts[place]
        if part is None:
            part = names.parts[place] = Leaf(owner)
        elif part.owner is not owner:
            part = names.parts[place] = _copied(part, owner)
        names = part
    assert type(names) is Leaf
    names[name] = number
    if len(names) > SPLIT and depth < DEPTH_LIMIT:
        branch = _split(names, depth, owner)
        if above is None:
            return branch
        above.parts[place] = branch
    return top


def remove(names: Names, name: bytes, owner: Owner) -> Names:
    """Remove a name that is there; return the map to keep from now on."""
    if names.owner is not owner:
        names = _copied(names, owner)
    top = names
    bits = hash(name)
    way: list[tuple[Branch, int]] = []
    while type(names) is Branch:
        place = bits & MASK
        bits >>= BITS
        part = names.parts[place]
        assert part is not None
        if part.owner is not owner:
            part = names.parts[place] = _copied(part, owner)
        way.append((names, place))
        names = part
    assert type(names) is Leaf
    del names[name]
    if way and not names:
        while way:
            branch, place = way.pop()
            branch.parts[place] = None
            if any(part is not None for part in branch.parts):
                return top
        return Leaf(owner)
    return top


def listing(names: Names) -> list[bytes]:
    """Return all names."""
    if type(names) is Leaf:
        return list(names)
    return [name for leaf in _leaves(names) for name in leaf]


def items(names: Names) -> Iterator[tuple[bytes, int]]:
    """Go through all names and numbers; the map must not change meanwhile."""
    for leaf in _leaves(names):
        yield from leaf.items()


def _leaves(names: Names) -> Iterator[Leaf]:
    if isinstance(names, Leaf):
        yield names
        return
    for part in names.parts:
        if part is not None:
            yield from _leaves(part)


def _split(leaf: Leaf, depth: int, owner: Owner) -> Branch:
    branch = Branch(owner)
    shift = depth * BITS
    for name, number in leaf.items():
        place = hash(name) >> shift & MASK
        part = branch.parts[place]
        if part is None:
            part = branch.parts[place] = Leaf(owner)
        assert type(part) is Leaf
        part[name] = number
    return branch


def _copied(names: Names, owner: Owner) -> Names:
    if type(names) is Leaf:
        leaf = Leaf(owner)
        leaf.update(names)
        owner.counters.copied_names += len(leaf)
        return leaf
    assert type(names) is Branch
    branch = Branch(owner)
    branch.parts = names.parts.copy()
    owner.counters.copied_pages += 1
    return branch
