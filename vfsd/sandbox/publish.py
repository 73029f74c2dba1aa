"""`--publish`: a port of a server in a sandbox without a network, reachable on our loopback.

The sockets that listen are made here, before the command starts, so that a port that is taken is
an error and not a surprise. portserver.py accepts on them and connects inside.

What it is *not*: a port of a sandbox with `--net`, which is the host's already.

Concurrency: an attendant, see attendant.py.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.companion import Companion
from vfsd.sandbox.namespaces import BACKLOG, network_of

HOST = "127.0.0.1"
PORT_MAX = 65_535
PORTS_MAX = 64
"""How many ports one run may publish."""


class Published(NamedTuple):
    """A port of ours and the one inside that it leads to."""

    outside: int
    inside: int


def published(text: str) -> Published:
    """Read ``8080`` or ``8080:80``; outside, 0 stands for any that is free. UserError (125)."""
    outside, separator, inside = text.partition(":")
    ports = [outside, inside] if separator else [outside, outside]
    if not all(each.isascii() and each.isdigit() and int(each[:6]) <= PORT_MAX for each in ports):
        raise _wrong(text)
    found = Published(int(ports[0]), int(ports[1]))
    if found.inside == 0:
        raise _wrong(text)
    return found


def _wrong(text: str) -> UserError:
    return UserError(
        f"--publish {text!r}: write a port such as 8080, or 8080:80 for port 80 inside",
        ExitCode.RUN_FAILED,
    )


class Publisher(Attendant):
    """Publishes ports of one run."""

    def __init__(self, ports: Sequence[Published], say: Callable[[str], None]) -> None:
        if len(ports) > PORTS_MAX:
            raise UserError(f"--publish: at most {PORTS_MAX} ports", ExitCode.RUN_FAILED)
        self._companion: Companion | None = None
        self._listeners: list[tuple[socket.socket, int]] = []
        try:
            for each in ports:
                self._listeners.append((_listener(each.outside), each.inside))
                if each.outside == 0:
                    chosen = self._listeners[-1][0].getsockname()[1]
                    say(f"port {each.inside} of the command is {HOST}:{chosen} here")
        except BaseException:
            self._close()
            raise

    def inside(self, init: int) -> None:
        """Start what connects the ports."""
        network = network_of(init)
        try:
            fds = [listener.fileno() for listener, _ in self._listeners]
            words = [f"{listener.fileno()}:{port}" for listener, port in self._listeners]
            namespaces = [str(fd) for fd in network]
            self._companion = Companion(
                "portserver", [*namespaces, *words], [*network, *fds], heard=True
            )
        finally:
            network.close()
            self._close()

    def ended(self, code: int) -> int:
        """Let what the command sent last be received."""
        self._end(last_words=True)
        return code

    def abandoned(self) -> None:
        """Close the ports."""
        self._end(last_words=False)

    def _end(self, *, last_words: bool) -> None:
        self._close()
        if self._companion is not None:
            self._companion.end(last_words=last_words)
            self._companion = None

    def _close(self) -> None:
        for listener, _ in self._listeners:
            listener.close()
        self._listeners = []


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET)
    try:
        # As servers do: a port whose last connection has just ended is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UserError(
            f"port {port} of {HOST} cannot be published: {error.strerror};"
            " name another one with --publish PORT:INSIDE",
            ExitCode.RUN_FAILED,
        ) from error
    return listener
