"""The verb watch: a stream of what changes in the tree, by whatever door.

An event is ``[prefix, node, name, data]``: the attachment, the number of the file or directory
as `stat` gives it, the name in that directory if an entry changed, and whether data changed.
With node nil anything in the attachment may have changed: also sent when the reader was too
slow for the queue.

Concurrency: events are noted synchronously and sent by the request's task; the queue is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import trio

from vfsd.contract import Change
from vfsd.control.streamverbs import Watch
from vfsd.control.work import Work
from vfsd.tree import Attachment, split_path

EVENTS_LIMIT = 4096
"""Events kept for a slow reader before they are replaced by "anything may have changed"."""

EVENTS_PER_PART = 512

Event = tuple[bytes, int | None, bytes | None, bool]


class Watcher:
    """A `TreeListener` that keeps nothing of the tree, so it is always settled."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._events: deque[Event] = deque()
        self._wake = trio.Event()

    def changed(self, attachment: Attachment, change: Change) -> None:
        prefix = attachment.prefix
        if self._prefix and prefix != self._prefix and not prefix.startswith(self._prefix + b"/"):
            return
        if len(self._events) >= EVENTS_LIMIT:
            self._events.clear()
            self._events.append((self._prefix, None, None, True))
        else:
            number = None if change.node is None else change.node.number
            event = (prefix, number, change.name, change.data)
            if self._events and self._events[-1] == event:
                return
            self._events.append(event)
        self._wake.set()

    def keeps(self, attachment: Attachment, number: int) -> bool:
        return False

    async def settled(self, attachments: Collection[Attachment]) -> None:
        return

    async def take(self) -> list[Event]:
        """Wait for events and return some, oldest first."""
        await self._wake.wait()
        count = min(len(self._events), EVENTS_PER_PART)
        taken = [self._events.popleft() for _ in range(count)]
        if not self._events:
            self._wake = trio.Event()
        return taken


async def watch(work: Work, verb: Watch) -> object:
    """Send an empty part once changes are noted, then parts of events; ends when cancelled."""
    watcher = Watcher(b"/".join(split_path(verb.prefix)))
    work.tree.subscribe(watcher)
    try:
        await work.send_part([])
        while True:
            await work.send_part([list(event) for event in await watcher.take()])
    finally:
        work.tree.unsubscribe(watcher)
