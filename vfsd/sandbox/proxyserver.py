"""The companion that lets named hosts through: an HTTP proxy that listens in the sandbox.

    python -m vfsd.sandbox.proxyserver CONTROL LISTENER RULE ...

The socket LISTENER was made in the sandbox's network, so connections come from there; those that
are made here go out of ours. It understands CONNECT, which all TLS goes through, and requests for
``http://`` addresses. What is not allowed gets 403, with a sentence, and is told on standard error
once for each host.

What it is *not*: a look into TLS. Whom a tunnel really talks to, the other side's certificate
tells, not the proxy: a host that serves many names can be asked for another one of them.

Concurrency: trio; a task for each connection.

Sources: RFC 9110, 9.3.6 and 7.6.1; RFC 9112, 3.2; h11's documentation.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import h11
import trio

from vfsd.sandbox.allowed import Rule, address, asked_for, canonical, reachable, rule, split
from vfsd.sandbox.relay import BROKEN, relay
from vfsd.sandbox.serving import serve

HEAD_BYTES = 65_536
"""The longest head of a request."""
HEAD_S = 60.0
"""How long it may take to come."""
CONNECT_S = 30.0
TOLD_MAX = 20
"""How many hosts are told of on standard error."""

HOP_BY_HOP = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"proxy-authorization", b"te", b"upgrade")
)


class _Refused(Exception):
    """The answer, instead of what was asked for."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _Asked(NamedTuple):
    """What a request asks for, and what to send there first."""

    host: str
    port: int
    first: bytes
    tunnel: bool


class Proxy:
    """Serves one sandbox."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._told: set[str] = set()

    async def serve(self, client: trio.SocketStream) -> None:
        """Serve one connection."""
        try:
            asked = await self._read(client)
            server = await self._connected(asked)
        except _Refused as refused:
            await _answer(client, refused)
        except BROKEN:
            return
        else:
            async with server:
                try:
                    if asked.tunnel:
                        await client.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    await server.send_all(asked.first)
                except BROKEN:
                    return
                await relay(client, server)

    async def _read(self, client: trio.SocketStream) -> _Asked:
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        with trio.move_on_after(HEAD_S):
            while True:
                try:
                    event = reader.next_event()
                except h11.RemoteProtocolError as error:
                    raise _Refused(error.error_status_hint, str(error)) from None
                if isinstance(event, h11.Request):
                    return _asked(event, reader.trailing_data[0])
                if event is not h11.NEED_DATA:
                    raise trio.BrokenResourceError
                reader.receive_data(await client.receive_some(HEAD_BYTES))
        raise _Refused(408, "the request did not come")

    async def _connected(self, asked: _Asked) -> trio.SocketStream:
        name = canonical(asked.host)
        if name is None:
            raise _Refused(400, f"{asked.host!r} is no host")
        if not asked_for(self._rules, name, asked.port):
            raise self._forbidden(name, asked.port, f"{name}:{asked.port} is not allowed")
        found = await _resolved(name, asked.port)
        allowed = [
            (family, place)
            for family, place in found
            if self._may_reach(name, place[0], asked.port)
        ]
        if not allowed:
            at = found[0][1][0]
            why = f"{name} is at {at}, which is not a public address"
            raise self._forbidden(at, asked.port, why)
        with trio.move_on_after(CONNECT_S):
            for family, place in allowed:
                attempt = trio.socket.socket(family, socket.SOCK_STREAM)
                try:
                    await attempt.connect(place)
                except OSError:
                    attempt.close()
                except BaseException:
                    attempt.close()
                    raise
                else:
                    return trio.SocketStream(attempt)
            raise _Refused(502, f"{name}:{asked.port} cannot be reached")
        raise _Refused(504, f"{name}:{asked.port} does not answer")

    def _may_reach(self, name: str, place: str, port: int) -> bool:
        found = address(place)
        return found is not None and reachable(self._rules, name, found, port)

    def _forbidden(self, host: str, port: int, why: str) -> _Refused:
        option = (
            host if port in (80, 443) else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        )
        sentence = f"{why}; 'vfsd run --allow-host {option}' lets it through"
        if sentence not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(sentence)
            print(f"vfsd: {sentence}", file=sys.stderr, flush=True)
        return _Refused(403, sentence)


async def _resolved(name: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    try:
        found = await trio.socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Refused(502, f"{name} has no address: {error}") from None
    return [(family, (str(place[0]), port)) for family, _, _, _, place in found]


def _asked(request: h11.Request, rest: bytes) -> _Asked:
    target = request.target.decode("latin-1")
    if request.method == b"CONNECT":
        host, port = split(target, None)
        if not host or port is None:
            raise _Refused(400, "CONNECT takes HOST:PORT")
        return _Asked(host, port, rest, tunnel=True)
    scheme, separator, after = target.partition("://")
    if not separator or scheme.lower() != "http":
        raise _Refused(400, "this is a proxy; ask it for http://HOST/PATH, or CONNECT")
    place, slash, path = after.partition("/")
    host, port = split(place.rpartition("@")[2], 80)
    if not host or port is None:
        raise _Refused(400, f"{place!r} is no host")
    if "?" in host or "#" in host:
        raise _Refused(400, f"{place!r} is no host")
    return _Asked(host, port, _head(request, f"{slash or '/'}{path}", place) + rest, tunnel=False)


def _head(request: h11.Request, path: str, place: str) -> bytes:
    # One request for each connection: what is passed on after this head is not looked at.
    named = {
        token.strip().lower()
        for name, value in request.headers
        if name == b"connection"
        for token in value.split(b",")
    }
    kept = [
        (name, value)
        for name, value in request.headers
        if name not in HOP_BY_HOP and name not in named and name != b"host"
    ]
    host = place.rpartition("@")[2].encode("latin-1")
    lines = [request.method + b" " + path.encode("latin-1") + b" HTTP/1.1", b"Host: " + host]
    lines += [name + b": " + value for name, value in kept]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _answer(client: trio.SocketStream, refused: _Refused) -> None:
    text = f"vfsd: {refused.reason}\n".encode()
    reason = {403: b"Forbidden", 502: b"Bad Gateway", 504: b"Gateway Timeout"}
    head = b"HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % (
        refused.status,
        reason.get(refused.status, b"Bad Request"),
        len(text),
    )
    try:
        await client.send_all(head + b"Connection: close\r\n\r\n" + text)
        await client.send_eof()
    except BROKEN:
        return


def main(words: Sequence[str]) -> None:
    """Serve until the run is over."""
    control, number, *rules = words
    listener = socket.socket(fileno=int(number))
    listener.setblocking(False)
    proxy = Proxy(map(rule, rules))
    trio.run(serve, int(control), [(listener, proxy.serve)])


if __name__ == "__main__":
    main(sys.argv[1:])
