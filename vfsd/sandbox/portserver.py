"""The companion that publishes ports: it lives in the sandbox's network and listens in ours.

    python -m vfsd.sandbox.portserver CONTROL USER NETWORK LISTENER:PORT ...

All but PORT are numbers of open files: the end of the run, the two namespaces, sockets that were
made outside. A socket belongs to the network it was made in, so what it accepts comes from
outside, and where it connects to is inside.

What it is *not*: part of the sandbox otherwise. The command sees neither it nor its files.

Concurrency: trio, after the namespaces have been entered.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

import trio

from vfsd.sandbox.namespaces import Network
from vfsd.sandbox.relay import relay
from vfsd.sandbox.serving import Serve, serve

PLACES = ("127.0.0.1", "::1")
"""Where a server inside may listen; what is called localhost can be either."""


def main(words: Sequence[str]) -> None:
    """Serve until the run is over."""
    control, user, network, *ports = words
    try:
        Network(int(user), int(network)).enter()
    except OSError as error:
        sys.exit(f"vfsd: no port is published: the sandbox's network is closed: {error.strerror}")
    listeners = []
    for each in ports:
        listener, _, port = each.partition(":")
        listeners.append((socket.socket(fileno=int(listener)), _to(int(port))))
        listeners[-1][0].setblocking(False)
    trio.run(serve, int(control), listeners)


def _to(port: int) -> Serve:
    async def connect(client: trio.SocketStream) -> None:
        server = await _connected(port)
        if server is not None:
            await relay(client, server)

    return connect


async def _connected(port: int) -> trio.SocketStream | None:
    for place in PLACES:
        family = socket.AF_INET6 if ":" in place else socket.AF_INET
        try:
            attempt = trio.socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # a machine without that protocol, or too many files
            continue
        try:
            await attempt.connect((place, port))
        except OSError:
            attempt.close()
        except BaseException:
            attempt.close()
            raise
        else:
            return trio.SocketStream(attempt)
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
