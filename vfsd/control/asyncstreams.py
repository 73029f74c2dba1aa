"""Answers without end, for trio programs: changes and samples, one at a time.

What it is *not*: the client that asks (vfsd/aclient.py), or the blocking ones (vfsd/client.py).

Concurrency: each belongs to one task, and has a connection of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

from trio.abc import AsyncResource

from vfsd.control import calls
from vfsd.control.replies import Event, events
from vfsd.control.suspending import Conversation


class AsyncWatch(AsyncIterator[Event], AsyncResource):
    """Changes, one at a time; waits until there is one."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._waiting: list[Event] = []

    @classmethod
    async def begin(cls, conversation: Conversation, prefix: bytes) -> Self:
        """Start a watch on a connection that is then its own."""
        self = cls(conversation)
        await self._conversation.begin(calls.watch(prefix))
        events(await self._conversation.next_part())  # empty: from now on nothing is missed
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            self._waiting = events(await self._conversation.next_part())
        return self._waiting.pop(0)

    async def aclose(self) -> None:
        """Stop watching."""
        await self._conversation.aclose()


class AsyncSamples(AsyncIterator[dict[str, Any]], AsyncResource):
    """Samples of a mount's requests (docs/CONTROL.md says what is in one); waits for the next."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    @classmethod
    async def begin(cls, conversation: Conversation, interval_s: float) -> Self:
        """Start measuring on a connection that is then its own."""
        self = cls(conversation)
        await self._conversation.begin(calls.top(round(interval_s * 1000)))
        calls.json_object(await self._conversation.next_part())  # empty: measured from now on
        return self

    async def __anext__(self) -> dict[str, Any]:
        return calls.json_object(await self._conversation.next_part())

    async def aclose(self) -> None:
        """Stop measuring."""
        await self._conversation.aclose()
