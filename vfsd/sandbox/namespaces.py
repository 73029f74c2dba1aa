"""Entering the network namespace of a sandbox, without being root.

The namespace belongs to the sandbox's user namespace, and that to the user who made it: the user
may enter the one and is then allowed to enter the other. Nothing else of the sandbox is entered.

What it is *not*: what then happens there (portserver.py, proxy.py).

Concurrency: `enter` needs a process of one thread, and there is no way back for it.

Sources: setns(2); ioctl_ns(2), NS_GET_USERNS; user_namespaces(7), "Capabilities".
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.limiting import children

NS_GET_USERNS = 0xB701
CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
IP_FREEBIND = 15
BACKLOG = 256


class Network(NamedTuple):
    """The open network namespace of a sandbox, and the user namespace it belongs to."""

    user: int
    network: int

    def close(self) -> None:
        """Close both."""
        os.close(self.user)
        os.close(self.network)

    def enter(self) -> None:
        """Make this process a member of both, for ever."""
        _setns(self.user, CLONE_NEWUSER)
        _setns(self.network, CLONE_NEWNET)


def network_of(init: int) -> Network:
    """Open the namespaces of a sandbox by its first process. UserError (125) if that fails."""
    import fcntl

    failure: OSError = ProcessLookupError(errno.ESRCH, "it is gone")
    # bwrap's own process may be closed to an ordinary user; the one that waits in it is not.
    for pid in (init, *children(init)):
        try:
            network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            failure = error
            continue
        try:
            user = fcntl.ioctl(network, NS_GET_USERNS)
        except OSError as error:
            os.close(network)
            failure = error
            continue
        os.set_inheritable(user, False)
        return Network(user, network)
    raise UserError(
        f"the sandbox's network cannot be entered: {failure.strerror}", ExitCode.RUN_FAILED
    )


def listener_inside(network: Network, port: int) -> socket.socket:
    """Return a socket that listens on a port of the sandbox's own loopback."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, _child(network, port, theirs):
        message, fds, _, _ = socket.recv_fds(ours, 256, 1)
    if not fds:
        why = message.decode() or "no answer"
        raise UserError(f"nothing can listen in the sandbox's network: {why}", ExitCode.RUN_FAILED)
    return socket.socket(fileno=fds[0])


@contextmanager
def _child(network: Network, port: int, channel: socket.socket) -> Iterator[None]:
    """Have a child enter the namespace, listen there and send the socket through `channel`."""
    pid = os.fork()
    if pid == 0:
        try:
            network.enter()
            with socket.socket(socket.AF_INET) as listener:
                # The loopback may not be up yet.
                listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
                listener.bind(("127.0.0.1", port))
                listener.listen(BACKLOG)
                socket.send_fds(channel, [b"ok"], [listener.fileno()])
        except BaseException as error:
            with suppress(OSError):
                channel.send(str(error).encode()[:256] or b"failed")
        finally:
            os._exit(0)
    channel.close()
    try:
        yield
    finally:
        os.waitpid(pid, 0)


def _setns(fd: int, kind: int) -> None:
    # os.setns came with Python 3.12.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, kind):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
