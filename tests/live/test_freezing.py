"""Freezing waits for a change that is half-way, and for no longer than it says."""

from __future__ import annotations

import errno

import pytest
import trio.testing

from providers.memory import MemoryProvider
from vfsd import freezing
from vfsd.errors import fail
from vfsd.freezing import between_changes


async def test_it_waits_for_the_end_of_a_change():
    answers = [fail(errno.EBUSY), fail(errno.EBUSY), None]

    def freeze() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "frozen"

    assert await between_changes(MemoryProvider(), freeze) == "frozen"
    assert answers == []


async def test_it_gives_up_in_the_end(autojump_clock):
    def freeze() -> None:
        raise fail(errno.EBUSY)

    started = trio.current_time()
    with pytest.raises(OSError, match="busy"):
        await between_changes(MemoryProvider(), freeze)
    assert 0 <= trio.current_time() - started - freezing.PATIENCE_SECONDS < 1


async def test_other_errors_are_told_at_once(autojump_clock):
    def freeze() -> None:
        raise fail(errno.EOPNOTSUPP)

    with pytest.raises(OSError, match="not supported"):
        await between_changes(MemoryProvider(), freeze)
    assert trio.current_time() == 0
