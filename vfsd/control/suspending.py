"""Calls over a socket for trio programs; blocking.py is for all others.

Concurrency: a lock lets one call at a time through. A call that is cancelled half-way ends the
conversation, since the rest of its message or of its answer would be taken for the next one's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import trio
from trio.abc import AsyncResource

from vfsd import runtime
from vfsd.control.calls import Call, Steps
from vfsd.control.exchange import ConnectionLost, Exchange
from vfsd.control.framing import Part, Result
from vfsd.runtime import Served

T = TypeVar("T")
R = TypeVar("R")

RECEIVE_BYTES = 1 << 18


class Conversation(AsyncResource):
    """A connected stream, one call at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._exchange = Exchange()
        self._lock = trio.Lock()

    @classmethod
    async def open(cls, served: Served) -> Conversation:
        """Connect to a daemon's socket."""
        connected = await trio.to_thread.run_sync(runtime.connect, served.socket, served.uid)
        connected.setblocking(False)
        return cls(trio.SocketStream(trio.socket.from_stdlib_socket(connected)))

    async def aclose(self) -> None:
        """End the connection."""
        await self._stream.aclose()

    async def call(self, call: Call[T], /, on_part: Callable[[object], None] | None = None) -> T:
        """Make a call and wait for its answer; raises what a failure stands for."""
        async with self._lock:
            frame = self._exchange.ask(call)
            try:
                await self._transmit(frame)
                while True:
                    answer = await self._next()
                    if isinstance(answer, Result):
                        return call.convert(answer.value)
                    if on_part is not None:
                        on_part(answer.value)
            except (trio.Cancelled, KeyboardInterrupt, ConnectionLost):
                await trio.aclose_forcefully(self._stream)
                raise

    async def run(self, steps: Steps[R]) -> R:
        """Make all calls of `steps`, which may block between them, and return its result."""
        try:
            value: Any = None
            error: Exception | None = None
            while True:
                call, result = await trio.to_thread.run_sync(_advance, steps, value, error)
                if call is None:
                    return cast(R, result)
                value = error = None
                try:
                    value = await self.call(call)
                except Exception as failure:
                    error = failure
        finally:
            steps.close()

    async def begin(self, call: Call[T]) -> None:
        """Make a call that is answered in parts without end; `next_part` gives them."""
        await self._transmit(self._exchange.ask(call))

    async def next_part(self) -> object:
        """Wait for the next part. ConnectionLost if there will be none."""
        answer = await self._next()
        if not isinstance(answer, Part):
            raise ConnectionLost("the daemon ended the stream")
        return answer.value

    async def _next(self) -> Part | Result:
        while True:
            answer = self._exchange.answer()
            if answer is not None:
                return answer
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise _lost(error) from error
            self._exchange.feed(bytes(data))

    async def _transmit(self, frame: bytes) -> None:
        try:
            await self._stream.send_all(frame)
        except trio.BrokenResourceError:
            return  # it may have told why before it left: receiving finds out
        except trio.ClosedResourceError as error:
            raise _lost(error) from error


def _advance(
    steps: Steps[R], value: object, error: Exception | None
) -> tuple[Call[Any] | None, R | None]:
    try:
        return (steps.send(value) if error is None else steps.throw(error)), None
    except StopIteration as stop:
        return None, stop.value


def _lost(error: Exception) -> ConnectionLost:
    return ConnectionLost(f"the connection to the vfsd daemon broke: {error}")
