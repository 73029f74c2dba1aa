"""The daemon's side of the control socket: who may connect, and how many.

One task per connection (connection.py), up to a limit of them, and only for peers that may ask:
the daemon's own user and root. Who may reach the socket's file at all is decided in
vfsd/runtime.py; here the peer's uid is checked once more.

Concurrency: connections share nothing but the tree and the table of virtual fds.

Source: unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from typing import NoReturn

import trio

from vfsd.attributes import Identity
from vfsd.control.connection import Connection
from vfsd.control.host import Host

log = logging.getLogger(__name__)

CONNECTIONS_LIMIT = 128

_UCRED = struct.Struct("3i")


async def serve(
    host: Host,
    listener: trio.SocketListener,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve connections until cancelled; `listener` is closed then."""
    server = _Server(host)
    await trio.serve_listeners(server.handle, [listener], task_status=_Started(task_status))
    raise AssertionError("serve_listeners does not return")


class _Started:
    """Passes on that serving began, without the listeners that trio would tell."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, value: object = None) -> None:
        self._task_status.started()


class _Server:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._connections = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            async with stream:
                caller = peer_of(stream)
                connection = Connection(self._host, stream, caller)
                if caller.uid not in (0, os.geteuid()):
                    await connection.farewell(errno.EACCES, "only the daemon's own user may ask")
                elif self._connections > CONNECTIONS_LIMIT:
                    await connection.farewell(errno.EAGAIN, "too many connections; try again")
                else:
                    await connection.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer is gone, which is its right
        except Exception:
            log.exception("a control connection failed")
        finally:
            self._connections -= 1


def peer_of(stream: trio.SocketStream) -> Identity:
    """Return who connected, as the kernel saw it at that moment."""
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return Identity(uid, gid, pid)
