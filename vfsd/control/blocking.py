"""Calls over a socket for programs that wait in their thread; suspending.py is for trio.

Concurrency: a lock lets one call at a time through, so threads may share a conversation.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from vfsd import runtime
from vfsd.control.calls import Call, Steps
from vfsd.control.exchange import ConnectionLost, Exchange
from vfsd.control.framing import Part, Result
from vfsd.runtime import Served

T = TypeVar("T")
R = TypeVar("R")

RECEIVE_BYTES = 1 << 18


class Conversation:
    """A connected socket, one call at a time."""

    def __init__(self, served: Served, timeout_s: float | None = None) -> None:
        self._socket: socket.socket = runtime.connect(served.socket, served.uid)
        self._socket.settimeout(timeout_s)
        self._exchange = Exchange()
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def call(self, call: Call[T], /, on_part: Callable[[object], None] | None = None) -> T:
        """Make a call and wait for its answer; raises what a failure stands for."""
        with self._lock:
            frame = self._exchange.ask(call)
            try:
                self._transmit(frame)
                while True:
                    answer = self._next()
                    if isinstance(answer, Result):
                        return call.convert(answer.value)
                    if on_part is not None:
                        on_part(answer.value)
            except (KeyboardInterrupt, ConnectionLost):
                # Half a message may be under way; what comes next would not be understood.
                self._socket.close()
                raise

    def run(self, steps: Steps[R]) -> R:
        """Make all calls of `steps` and return its result."""
        try:
            call = next(steps)
            while True:
                try:
                    value = self.call(call)
                except Exception as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(value)
        except StopIteration as stop:
            result: R = stop.value
            return result
        finally:
            steps.close()

    def begin(self, call: Call[T]) -> None:
        """Make a call that is answered in parts without end; `next_part` gives them."""
        self._transmit(self._exchange.ask(call))

    def next_part(self) -> object:
        """Wait for the next part. ConnectionLost if there will be none."""
        answer = self._next()
        if not isinstance(answer, Part):
            raise ConnectionLost("the daemon ended the stream")
        return answer.value

    def _next(self) -> Part | Result:
        while True:
            answer = self._exchange.answer()
            if answer is not None:
                return answer
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except OSError as error:
                raise _lost(error) from error
            self._exchange.feed(data)

    def _transmit(self, frame: bytes) -> None:
        try:
            self._socket.sendall(frame)
        except (BrokenPipeError, ConnectionResetError):
            return  # it may have told why before it left: receiving finds out
        except OSError as error:
            raise _lost(error) from error


def _lost(error: OSError) -> ConnectionLost:
    return ConnectionLost(f"the connection to the vfsd daemon broke: {error.strerror or error}")
