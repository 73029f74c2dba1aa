"""One connection of the control socket: its requests, its answers, its end.

    run
    ├── reads messages; starts
    │   └── one task per request: performs it, hands its answer to the writer
    └── the writer: sends one answer at a time

Everything a peer can make grow has a bound: requests in flight, the length of a message, open
files, a watcher's queue. An answer waits for a slow reader in the task that made it, which
counts as in flight until then. When the connection ends, for whatever reason, its requests are
cancelled, its files closed and its temporary entries removed.

What it is *not*: what the verbs do (service.py) or who may connect (server.py).

Concurrency: only the writer sends, so that a cancelled request never leaves half a frame.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from typing import NamedTuple

import trio

from vfsd.attributes import Identity
from vfsd.control.framing import (
    DATA_LIMIT_BYTES,
    Cancel,
    Failure,
    FrameError,
    FrameReader,
    Message,
    Part,
    Request,
    Result,
    decode_body,
    encode_frame,
)
from vfsd.control.host import Host
from vfsd.control.listings import Listings
from vfsd.control.openfiles import OpenFiles
from vfsd.control.placing import discard
from vfsd.control.protocol import VERSIONS, Hello, Stop
from vfsd.control.service import perform
from vfsd.control.validation import ParameterError, parse
from vfsd.control.work import Work
from vfsd.errors import UserError, exit_code_of
from vfsd.exitcodes import ExitCode
from vfsd.version import __version__

log = logging.getLogger(__name__)

IN_FLIGHT_LIMIT = 8
"""Requests of one connection that run at a time; one more is EAGAIN."""

RECEIVE_BYTES = 1 << 18
HELLO_TIMEOUT_SECONDS = 10.0
"""Longest wait for the greeting, so that who says nothing holds no connection."""

FAREWELL_TIMEOUT_SECONDS = 1.0
"""Longest wait for a peer to take the reason why its connection ends."""

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
"""What sending to and receiving from a peer that left raises."""


class _Outgoing(NamedTuple):
    frame: bytes
    ends: int | None
    """The request that this answers for good: its number is free again once it is sent."""
    then: Callable[[], None] | None = None


class Connection:
    """One peer, from its greeting to its end."""

    def __init__(self, host: Host, stream: trio.SocketStream, caller: Identity) -> None:
        self._host = host
        self._stream = stream
        self._caller = caller
        self._files = OpenFiles(host.handles)
        self._listings = Listings()
        self._running: dict[int, trio.CancelScope] = {}
        self._greeted = False
        self._greeting_ends = trio.current_time() + HELLO_TIMEOUT_SECONDS
        # No buffer: what waits to be sent is held by the task that made it.
        self._send, self._to_send = trio.open_memory_channel[_Outgoing](0)

    async def run(self) -> None:
        """Serve until the peer leaves or misbehaves beyond repair."""
        farewell: FrameError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                farewell = await self._read(nursery)
                nursery.cancel_scope.cancel()
        except* GONE:
            pass
        finally:
            with trio.CancelScope(shield=True):
                await self._close_files()
        if farewell is not None:
            await self.farewell(farewell.errno, farewell.text)

    async def farewell(self, code: int, text: str) -> None:
        """Tell the peer why the connection ends, if it listens."""
        frame = encode_frame(Failure(0, code, text, exit_code_of(OSError(code, text))))
        with trio.move_on_after(FAREWELL_TIMEOUT_SECONDS):
            await self._stream.send_all(frame)
            await self._stream.send_eof()
            # Closing a socket with unread bytes resets it, and the reason would be lost.
            while await self._stream.receive_some(RECEIVE_BYTES):
                pass

    async def _close_files(self) -> None:
        staged = await self._files.close_all()
        work = self._work(0)
        for parent, name in staged:
            await discard(work, parent, name)

    # -- requests -------------------------------------------------------------------------

    async def _read(self, nursery: trio.Nursery) -> FrameError | None:
        """Take messages until the peer ends them; return why if it is to be told."""
        reader = FrameReader()
        while True:
            deadline = float("inf") if self._greeted else self._greeting_ends
            with trio.move_on_at(deadline) as late:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            if late.cancelled_caught:
                return FrameError("no 'hello' came in time", errno.ETIMEDOUT)
            if not data:
                return None
            reader.feed(data)
            bodies = reader.bodies()
            while True:
                try:
                    body = next(bodies, None)
                    if body is None:
                        break
                    await self._accept(decode_body(body), nursery)
                except FrameError as error:
                    if error.fatal:
                        return error
                    await self._refuse(0, error.errno, error.text)
                    bodies = reader.bodies()

    async def _accept(self, message: Message, nursery: trio.Nursery) -> None:
        match message:
            case Cancel(number):
                scope = self._running.get(number)
                if scope is not None:
                    scope.cancel()
            case Request(number):
                if number in self._running or number == 0:
                    await self._refuse(0, errno.EPROTO, f"the request id {number} is in use")
                elif len(self._running) >= IN_FLIGHT_LIMIT:
                    text = f"more than {IN_FLIGHT_LIMIT} requests at a time"
                    await self._refuse(number, errno.EAGAIN, text)
                else:
                    scope = self._running[number] = trio.CancelScope()
                    nursery.start_soon(self._answer, message, scope)
            case _:
                await self._refuse(0, errno.EPROTO, "a client sends requests and cancels only")

    async def _answer(self, request: Request, scope: trio.CancelScope) -> None:
        answer: Message = Failure(
            request.id, errno.ECANCELED, os.strerror(errno.ECANCELED), ExitCode.FAILED
        )
        then = None
        with scope:
            try:
                verb = parse(request.verb, request.parameters)
                if isinstance(verb, Stop):
                    then = self._host.request_stop
                if isinstance(verb, Hello):
                    value: object = self._greet(verb)
                elif self._greeted:
                    value = await perform(self._work(request.id), verb)
                else:
                    raise ParameterError("the first request is to be 'hello'")
                answer = Result(request.id, value)
            except Exception as error:
                answer, then = _failure(request.id, request.verb, error), None
        await self._send.send(_Outgoing(_frame(answer), request.id, then))

    def _greet(self, verb: Hello) -> dict[str, object]:
        shared = set(VERSIONS).intersection(verb.versions)
        if not shared:
            raise ParameterError(
                f"this daemon (vfsd {__version__}) speaks version {VERSIONS[-1]} of the control"
                " protocol and this client does not; use the vfsd that mounted, or mount again"
            )
        self._greeted = True
        return {
            "version": max(shared),
            "daemon": __version__,
            "pid": os.getpid(),
            "mountpoint": self._host.mountpoint,
            "data_limit": DATA_LIMIT_BYTES,
            "in_flight_limit": IN_FLIGHT_LIMIT,
        }

    def _work(self, number: int) -> Work:
        async def send_part(value: object) -> None:
            await self._send.send(_Outgoing(_frame(Part(number, value)), None))

        return Work(self._host, self._caller, self._files, self._listings, send_part)

    # -- answers --------------------------------------------------------------------------

    async def _refuse(self, number: int, code: int, text: str) -> None:
        failure = Failure(number, code, text, exit_code_of(OSError(code, text)))
        await self._send.send(_Outgoing(_frame(failure), None))

    async def _write(self) -> None:
        async for outgoing in self._to_send:
            if outgoing.ends is not None:
                # Before it is sent: who reads it may use the number again at once.
                del self._running[outgoing.ends]
            await self._stream.send_all(outgoing.frame)
            if outgoing.then is not None:
                outgoing.then()


def _frame(message: Message) -> bytes:
    try:
        return encode_frame(message)
    except FrameError as error:
        assert not isinstance(message, Request | Cancel)
        return encode_frame(_failure(message.id, "", OSError(error.errno, error.text)))


def _failure(number: int, verb: str, error: Exception) -> Failure:
    """Return the answer for what a verb raised; only what nobody foresaw is logged."""
    match error:
        case ParameterError():
            return Failure(number, error.errno, error.text, ExitCode.FAILED)
        case UserError():
            text = error.message.encode(errors="backslashreplace").decode()
            return Failure(number, 0, text, error.exit_code)
        case OSError():
            code, file = error.errno or errno.EIO, error.filename
            if file is not None and not isinstance(file, bytes):
                file = os.fsencode(str(file))
            text = error.strerror or os.strerror(code)
            return Failure(number, code, text, exit_code_of(error), file)
        case _:
            log.error("the control verb %r failed", verb, exc_info=error)
            text = "the daemon failed inside; its log says where"
            return Failure(number, errno.EIO, text, ExitCode.FAILED)
