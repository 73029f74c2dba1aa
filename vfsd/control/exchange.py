"""A client's half of a conversation, without the socket: requests to bytes, bytes to answers.

Concurrency: one request at a time; the client that owns it has a lock. Answers to requests
that were given up are passed over.
"""

from __future__ import annotations

import errno
import os
from typing import TypeVar

from vfsd.control.calls import Call
from vfsd.control.framing import (
    Failure,
    FrameError,
    FrameReader,
    Part,
    Result,
    decode_body,
    encode_frame,
)
from vfsd.control.replies import ReplyError, error_of

T = TypeVar("T")


class ConnectionLost(ConnectionError):
    """The daemon went away, or ended the conversation; whether it did the request is unknown."""

    def __init__(self, text: str = "the vfsd daemon ended the connection") -> None:
        super().__init__(errno.ECONNRESET, text)


class Exchange:
    """Numbers requests and finds their answers."""

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._number = 0

    def ask(self, call: Call[T]) -> bytes:
        """Return the frame that asks; OSError (EMSGSIZE) if it does not fit into a message."""
        self._number += 1
        try:
            return encode_frame(call.request(self._number))
        except FrameError as error:
            raise OSError(error.errno, error.text) from error

    def feed(self, data: bytes) -> None:
        """Take what the socket gave; ConnectionLost for its end."""
        if not data:
            raise ConnectionLost()
        self._reader.feed(data)

    def answer(self) -> Part | Result | None:
        """Return the next answer to the last request, None if it has not come yet.

        Raises what a failure stands for; ReplyError for what is no message.
        """
        try:
            for body in self._reader.bodies():
                message = decode_body(body)
                if isinstance(message, Failure) and message.id in (0, self._number):
                    raise self._error(message)
                if isinstance(message, Part | Result) and message.id == self._number:
                    return message
        except FrameError as error:
            raise ReplyError(error.text) from error
        return None

    def _error(self, failure: Failure) -> Exception:
        error = error_of(failure)
        if failure.id == 0 and failure.errno:
            # It belongs to the connection: the daemon did not understand, or will not talk.
            return OSError(failure.errno, failure.text or os.strerror(failure.errno))
        return error
