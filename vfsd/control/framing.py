"""Frames on the control socket: bytes to messages and back.

A frame is a header and one msgpack array; the array's first item is its kind:

    offset  size  type    field
    0       4     u32 BE  length of the body in bytes, at most `FRAME_LIMIT_BYTES`
    4       n     msgpack body

    kind  sent by  body
    1     client   [1, id, verb, parameters]             request
    2     server   [2, id, value]                        result: the request is done
    3     server   [3, id, value]                        part: more follows for this request
    4     server   [4, id, errno, text, exit code, file] failure: the request is done
    5     client   [5, id]                               cancel the request

`id` is chosen by the client and not used again while its request runs; 0 stands for "no
request" in a failure that belongs to the connection. This layout is the same in all versions
of the protocol, so that a daemon can always tell a client that it speaks another one.

What it is *not*: what the verbs mean and take (protocol.py), or reading from sockets.

Concurrency: a `FrameReader` belongs to one connection; the rest are pure functions.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from vfsd.codec import CodecError, decode, encode

HEADER = struct.Struct(">I")
DATA_LIMIT_BYTES = 1 << 20
"""File data in one message."""
FRAME_LIMIT_BYTES = DATA_LIMIT_BYTES + (1 << 16)
"""One body: a full load of data and what describes it."""
SKIP_LIMIT_BYTES = 1 << 24
"""A longer body than allowed is read and thrown away up to here; past it the peer is mad."""
ID_LIMIT = 1 << 63


class Kind(IntEnum):
    """The first item of a body."""

    REQUEST = 1
    RESULT = 2
    PART = 3
    FAILURE = 4
    CANCEL = 5


@dataclass(frozen=True, slots=True)
class Request:
    """A client asks for `verb`."""

    id: int
    verb: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Result:
    """The last answer to a request that worked."""

    id: int
    value: object


@dataclass(frozen=True, slots=True)
class Part:
    """One of several answers to a request: progress or an event."""

    id: int
    value: object


@dataclass(frozen=True, slots=True)
class Failure:
    """The last answer to a request that failed; `errno` is 0 for what is no system error."""

    id: int
    errno: int
    text: str
    exit_code: int
    file: bytes | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """A client no longer wants the answer to a request; a failure (ECANCELED) still comes."""

    id: int


Message = Request | Result | Part | Failure | Cancel


class FrameError(Exception):
    """What arrived is no message. `fatal`: where the next frame starts is not known either."""

    def __init__(self, text: str, code: int = errno.EPROTO, *, fatal: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.errno = code
        self.fatal = fatal


def encode_frame(message: Message) -> bytes:
    """Return the frame for `message`.

    FrameError: EMSGSIZE if it would be too long, EPROTO if a value cannot be encoded.
    """
    try:
        body = encode(_as_list(message))
    except CodecError as error:
        raise FrameError(str(error)) from error
    if len(body) > FRAME_LIMIT_BYTES:
        raise FrameError(
            f"a message of {len(body)} bytes is longer than the {FRAME_LIMIT_BYTES} allowed",
            errno.EMSGSIZE,
        )
    return HEADER.pack(len(body)) + body


def decode_body(body: bytes | bytearray | memoryview) -> Message:
    """Return the message in a frame's body. FrameError if it is not one."""
    try:
        value = decode(body)
    except CodecError as error:
        raise FrameError(str(error)) from error
    if not isinstance(value, list) or not value:
        raise FrameError("a message is an array that starts with its kind")
    match value:
        case [Kind.REQUEST, int() as number, str() as verb, dict() as parameters]:
            if all(type(key) is str for key in parameters):
                return Request(_id(number), verb, parameters)
        case [Kind.RESULT, int() as number, result]:
            return Result(_id(number), result)
        case [Kind.PART, int() as number, part]:
            return Part(_id(number), part)
        case [
            Kind.FAILURE,
            int() as number,
            int() as code,
            str() as text,
            int() as exit_code,
            file,
        ]:
            if file is None or isinstance(file, bytes):
                return Failure(_id(number), code, text, exit_code, file)
        case [Kind.CANCEL, int() as number]:
            return Cancel(_id(number))
    raise FrameError("a message of an unknown kind or form")


class FrameReader:
    """Cuts a stream of bytes into bodies; holds at most one frame and what came with it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes as they came from the socket."""
        self._buffer += data

    @property
    def is_midway(self) -> bool:
        """True if a frame has begun and not ended: the end of the stream would cut it off."""
        return bool(self._buffer or self._skip)

    def bodies(self) -> Iterator[bytes]:
        """Yield each complete body. FrameError for one that is too long; then ask again.

        A body up to `SKIP_LIMIT_BYTES` is thrown away as it arrives, and what follows it is
        read as before; a longer one is fatal.
        """
        while True:
            if self._skip:
                gone = min(self._skip, len(self._buffer))
                del self._buffer[:gone]
                self._skip -= gone
                if self._skip:
                    return
            if len(self._buffer) < HEADER.size:
                return
            (length,) = HEADER.unpack_from(self._buffer)
            if length > FRAME_LIMIT_BYTES:
                del self._buffer[: HEADER.size]
                self._skip = length
                raise FrameError(
                    f"a message of {length} bytes is longer than the {FRAME_LIMIT_BYTES} allowed",
                    errno.EMSGSIZE,
                    fatal=length > SKIP_LIMIT_BYTES,
                )
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[HEADER.size : end])
            del self._buffer[:end]
            yield body


def _as_list(message: Message) -> list[object]:
    match message:
        case Request(number, verb, parameters):
            return [Kind.REQUEST, number, verb, dict(parameters)]
        case Result(number, value):
            return [Kind.RESULT, number, value]
        case Part(number, value):
            return [Kind.PART, number, value]
        case Failure(number, code, text, exit_code, file):
            return [Kind.FAILURE, number, code, text, exit_code, file]
        case Cancel(number):
            return [Kind.CANCEL, number]


def _id(number: int) -> int:
    if isinstance(number, bool) or not 0 <= number < ID_LIMIT:
        raise FrameError("a message's id is an integer from 0 to 2**63 - 1")
    return number
