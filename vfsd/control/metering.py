"""The verb top: samples of what the mount is asked, at an interval, for as long as one looks.

Measuring begins with the first part, which says nothing yet, and ends with the request: when it
is cancelled or its connection is gone. Nobody's requests are measured while nobody looks.

What it is *not*: the measuring (vfsd/fuse/metering.py).

Concurrency: a sample is taken in one step; each viewer's is its own.
"""

from __future__ import annotations

import json

import trio

from vfsd.control.streamverbs import Top
from vfsd.control.work import Work


async def top(work: Work, verb: Top) -> object:
    """Send an empty part once requests are measured, then a sample per interval, as JSON text."""
    with work.host.measure() as take:
        await work.send_part("{}")
        due_s = trio.current_time()
        while True:
            # Kept to the clock, unless sending took longer: then the next is a full one later.
            due_s = max(due_s, trio.current_time() - verb.interval_ms / 1000)
            due_s += verb.interval_ms / 1000
            await trio.sleep_until(due_s)
            await work.send_part(json.dumps(take()))
