"""Which layers the snapshots of a store use, and which pairs of layers could be one.

A layer is *merged away* if every chain that has it has the same layer directly above it, and that
one has nothing else below it anywhere: then only the two together mean anything, and what the
upper one shadows is of no use to anybody.

What it is *not*: the removal (collection.py).

Concurrency: pure functions on what was read before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence


def users(chains: Iterable[Sequence[str]]) -> Counter[str]:
    """Return how many chains have each layer."""
    return Counter(layer for chain in chains for layer in set(chain))


def runs(chains: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the longest sequences of layers, top first, that are only used together."""
    above: defaultdict[str, set[str | None]] = defaultdict(set)
    below: defaultdict[str, set[str | None]] = defaultdict(set)
    for chain in chains:
        for upper, lower in zip((None, *chain), (*chain, None), strict=True):
            if lower is not None:
                above[lower].add(upper)
            if upper is not None:
                below[upper].add(lower)
    follows = {
        upper: lower
        for upper, lowers in below.items()
        for lower in lowers
        if lower is not None and len(lowers) == 1 and above[lower] == {upper}
    }
    found = []
    for first in follows.keys() - set(follows.values()):
        run = [first]
        while run[-1] in follows:
            run.append(follows[run[-1]])
        found.append(tuple(run))
    return sorted(found)


def without(chain: Sequence[str], run: Sequence[str], merged: str) -> tuple[str, ...]:
    """Return `chain` with `merged` in the place of `run`; as it is if it does not have it."""
    if run[0] not in chain:
        return tuple(chain)
    at = chain.index(run[0])
    if tuple(chain[at : at + len(run)]) != tuple(run):
        return tuple(chain)
    return (*chain[:at], merged, *chain[at + len(run) :])
