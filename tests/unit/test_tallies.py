"""The sums behind `vfsd top`, and that nothing at all is in the way while nobody looks."""

from __future__ import annotations

import random

import pytest

from providers.memory import MemoryProvider
from vfsd.fuse.metering import process_of
from vfsd.fuse.operations import KINDS, Operations
from vfsd.fuse.tallies import KEYS_LIMIT, OTHERS, SHOWN_LIMIT, Latencies, Window
from vfsd.handles import HandleTable
from vfsd.tree import Tree


@pytest.fixture
def operations():
    return Operations(Tree(MemoryProvider()), HandleTable())


@pytest.mark.parametrize("xattrs", [True, False])
def test_nobody_looking_means_the_plain_handlers(xattrs):
    operations = Operations(Tree(MemoryProvider()), HandleTable(), xattrs=xattrs)
    before = dict(vars(operations))
    with operations.meter.open_window(), operations.meter.open_window():
        measured = {kind for kind in KINDS if kind in vars(operations)}
        assert len(measured) == len(KINDS)  # those refused without xattrs stand there before
        assert vars(operations).get("flush") is None
    assert dict(vars(operations)) == before
    refused = set() if xattrs else {"getxattr", "setxattr", "listxattr", "removexattr"}
    for kind in set(KINDS) - refused:
        assert getattr(operations, kind).__func__ is getattr(Operations, kind)


async def test_the_clock_is_asked_only_while_somebody_looks(operations, monkeypatch):
    asked = []
    monkeypatch.setattr("vfsd.fuse.metering.perf_counter_ns", lambda: asked.append(1) or 0)
    monkeypatch.setattr("vfsd.fuse.tallies.perf_counter_ns", lambda: 0)
    for _ in range(10):
        await operations.getattr(1, None)
    assert not asked
    with operations.meter.open_window() as take:
        for _ in range(10):
            await operations.getattr(1, None)
        assert take()["requests"] == 10
    assert len(asked) == 20


def test_percentiles_are_at_most_an_eighth_too_high():
    chance = random.Random(7)
    times = [int(10 ** chance.uniform(0, 9)) for _ in range(5000)]
    latencies = Latencies()
    for each in times:
        latencies.note(each)
    times.sort()
    for percent, found in zip(
        (50, 90, 99, 100), latencies.percentiles_us(50, 90, 99, 100), strict=True
    ):
        exact = times[-(-len(times) * percent // 100) - 1] / 1000
        assert exact <= found <= exact * 1.125 + 0.001
    assert latencies.percentiles_us(100) == [times[-1] / 1000]


def test_no_number_of_processes_makes_a_window_grow_beyond_its_limit():
    window = Window()
    for pid in range(KEYS_LIMIT * 2):
        window.note(("read", None, pid), 1000, failed=False, read_bytes=1, written_bytes=0)
    sample = window.take({})
    assert sample["requests"] == KEYS_LIMIT * 2
    callers = sample["callers"]
    assert isinstance(callers, list)
    assert len(callers) == SHOWN_LIMIT + 1
    assert callers[-1]["pid"] == OTHERS
    assert sum(each["requests"] for each in callers) == KEYS_LIMIT * 2
    assert window.take({})["requests"] == 0


def test_who_is_gone_has_no_name():
    assert process_of(2**31 - 1) == (2**31 - 1, "")
    assert process_of(0)[0] == 0
