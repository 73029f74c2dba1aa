"""A fixed run of mutated archives: only `Damage` comes out. `make fuzz` runs many more."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from tests.unit.archive import mutating
from vfsd.archive.layout import FRAME_BYTES_MAX

RUNS = 400


@pytest.mark.parametrize("seed", range(5))
def test_only_damage_comes_out(seed):
    chance = random.Random(seed)
    start = list(mutating.seeds())[seed]
    for _ in range(RUNS if seed < 4 else RUNS // 4):
        mutating.exercise(mutating.mutated(chance, start))


def test_mending_makes_an_archive_good_again():
    """Otherwise most mutations would end at the first digest."""
    for seed in mutating.seeds():
        broken = bytearray(seed)
        broken[50] ^= 1
        broken[-10] ^= 1
        assert mutating.mended(bytes(broken)) == seed


def test_what_is_allocated_is_bounded():
    """By what a good archive takes, plus the file's size and a frame; whatever lengths lie."""
    chance = random.Random(99)
    start = next(iter(mutating.seeds()))
    mutating.exercise(start)
    tracemalloc.start()
    try:
        mutating.exercise(start)
        good = tracemalloc.get_traced_memory()[1]
        for _ in range(150):
            tracemalloc.reset_peak()
            mutating.exercise(mutating.mutated(chance, start))
            peak = tracemalloc.get_traced_memory()[1]
            assert peak <= good + len(start) + 4 * FRAME_BYTES_MAX
    finally:
        tracemalloc.stop()
