"""Where daemons are found: the runtime directory, one socket per mountpoint, who serves a path.

A socket's name is the key of its mountpoint, so a client that knows a path finds the daemon
without a registry that could go stale. Nothing here touches a mount: a mount whose daemon died
or hangs would block the caller for ever, so paths inside a mount are compared as text, and
what is mounted is read from vfsd/mountinfo.py.

What it is *not*: the protocol (vfsd/control/) or the kernel mount (vfsd/fuse/session.py).

Concurrency: blocking calls, all of them short, for the command line and for a daemon's start.
Binding and clearing hold a lock file, so that two daemons that start at once, or one that
starts while another process sweeps stale sockets, cannot remove each other's socket.

Sources: unix(7), socket(7) for SO_SNDTIMEO, the XDG base directory specification.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat as stat_module
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vfsd import mountinfo, xdg
from vfsd.digest import short_key
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.mountinfo import at_or_below

ADDRESS_LIMIT_BYTES = 107
"""Longest path in a `sockaddr_un`: 108 bytes with the closing NUL. Source: unix(7)."""

CONNECT_TIMEOUT_SECONDS = 5.0
BACKLOG = 128
LOCK_NAME = "lock"
SUFFIX = ".sock"


class Served(NamedTuple):
    """A path inside a mount: the socket of its daemon, the mountpoint, and the path in the tree.

    `prefix` has no leading slash and is ``b""`` for the mountpoint itself; `uid` runs the daemon.
    """

    socket: Path
    mountpoint: bytes
    prefix: bytes
    uid: int


class Mount(NamedTuple):
    """A vfsd mount of this mount namespace, its daemon dead or alive; `uid` mounted it."""

    mountpoint: bytes
    uid: int


@dataclass(slots=True)
class Endpoint:
    """A bound, listening socket; `close` removes its file unless another daemon has it now."""

    listener: socket.socket
    path: Path

    def close(self) -> None:
        """Stop listening and remove the file. May be called twice."""
        self.listener.close()
        with suppress(OSError), _locked(self.path.parent):
            _clear_if_stale(self.path)


def runtime_directory() -> Path:
    """Return where this user's sockets live; it may not exist yet."""
    return Path(xdg.runtime_directory())


def prepare_directory() -> Path:
    """Make the runtime directory, private to its user, and return it.

    UserError if what stands there is not a directory of this user's, closed to all others:
    in a shared directory like /tmp anybody may have put it there.
    """
    directory = runtime_directory()
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    _check_private(directory, os.geteuid())
    return directory


def socket_path(mountpoint: bytes) -> Path:
    """Return where the socket of the daemon for the absolute `mountpoint` lies."""
    return runtime_directory() / _socket_name(mountpoint)


def bind(mountpoint: bytes) -> Endpoint:
    """Listen for the daemon of `mountpoint`, replacing a dead daemon's socket.

    UserError if a living daemon has it. The socket is 0600 from its first moment.
    """
    directory = prepare_directory()
    path = directory / socket_path(mountpoint).name
    with _locked(directory):
        if not _clear_if_stale(path):
            raise UserError(
                f"a vfsd daemon already serves {os.fsdecode(mountpoint)};"
                f" 'vfsd unmount {os.fsdecode(mountpoint)}' stops it",
                ExitCode.REFUSED,
            )
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The mode of a socket's file is that of the socket's inode with the umask applied;
            # fchmod before bind sets it without touching the process-wide umask.
            os.fchmod(listener.fileno(), 0o600)
            with _address(path) as address:
                listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        return Endpoint(listener, path)


def connect(path: Path, uid: int | None = None) -> socket.socket:
    """Connect to the socket of a daemon that `uid` (None: this user) runs.

    ConnectionRefusedError if the daemon is dead, UserError if others could have put it there.
    """
    _check_private(path.parent, os.geteuid() if uid is None else uid)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Not settimeout: a Unix socket that does not block refuses a full backlog (EAGAIN)
        # instead of waiting for room.
        _set_send_timeout(client, CONNECT_TIMEOUT_SECONDS)
        try:
            with _address(path) as address:
                client.connect(address)
        except BlockingIOError as error:
            raise TimeoutError(
                errno.ETIMEDOUT, "the vfsd daemon takes no connection", os.fsdecode(path)
            ) from error
        _set_send_timeout(client, 0)
    except BaseException:
        client.close()
        raise
    return client


def _set_send_timeout(client: socket.socket, seconds: float) -> None:
    client.setsockopt(
        socket.SOL_SOCKET,
        socket.SO_SNDTIMEO,
        struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000)),
    )


def is_alive(path: Path) -> bool:
    """Say whether a process listens on the socket `path`."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with probe:
        probe.setblocking(False)
        try:
            with _address(path) as address:
                probe.connect(address)
        except BlockingIOError:
            return True  # its backlog is full: somebody listens, however slowly
        except OSError as error:
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR, errno.ENOTSOCK):
                return False
            raise
        return True


def sockets() -> list[Path]:
    """Return the sockets of this user's living daemons; dead ones are removed on the way."""
    directory = runtime_directory()
    try:
        _check_private(directory, os.geteuid())
        found = sorted(directory.glob(f"*{SUFFIX}"))
    except FileNotFoundError:
        return []
    living = []
    for path in found:
        if is_alive(path):
            living.append(path)
        else:
            with _locked(directory):
                _clear_if_stale(path)
    return living


def find(path: str | bytes | os.PathLike[str]) -> Served:
    """Return the daemon that serves `path`. UserError (NOT_MOUNTED) if none does.

    Symlinks are resolved up to the mountpoint and not inside it, where only the daemon may
    look; of mounts inside mounts the innermost counts.
    """
    text = os.fsencode(path)
    mounted = {mount.mountpoint: mount for mount in mounts()}
    place, rest = _walk(text, set(mounted))
    if place is None:
        raise UserError(
            f"no vfsd daemon serves {os.fsdecode(text)}; 'vfsd status' lists what is mounted,"
            " 'vfsd mount' mounts",
            ExitCode.NOT_MOUNTED,
        )
    mount = mounted.get(place, Mount(place, os.geteuid()))
    shown = os.fsdecode(place)
    found = socket_of(mount)
    if found is not None:
        return Served(found, place, rest, mount.uid)
    if mount.uid not in (os.geteuid(), 0) or (mount.uid == 0 and os.geteuid() != 0):
        raise UserError(
            f"the vfsd daemon of {shown} belongs to user {mount.uid}, who alone may ask it",
            ExitCode.DENIED,
        )
    raise UserError(
        f"the vfsd daemon that served {shown} is gone; 'vfsd unmount {shown}' clears it",
        ExitCode.NOT_MOUNTED,
    )


def mountpoints() -> list[bytes]:
    """Return where this mount namespace has vfsd mounts, dead ones included."""
    return [mount.mountpoint for mount in mounts()]


def mounts() -> list[Mount]:
    """Return the vfsd mounts of this mount namespace, dead ones and other users' included."""
    return [
        Mount(mount.mountpoint, _user_of(mount.options))
        for mount in mountinfo.read()
        if mount.kind == b"fuse.vfsd" or (mount.kind == b"fuse" and mount.source == b"vfsd")
    ]


def _user_of(options: bytes) -> int:
    uid = re.search(rb"(?:^|,)user_id=(\d+)", options)
    return int(uid[1]) if uid else 0


def socket_of(mount: Mount) -> Path | None:
    """Return the living socket behind a mount; root finds those of other users as well."""
    for directory in _directories(mount.uid):
        path = directory / _socket_name(mount.mountpoint)
        try:
            _check_private(directory, mount.uid)
            if is_alive(path):
                return path
        except FileNotFoundError:
            continue
    return None


def _directories(uid: int) -> list[Path]:
    if uid == os.geteuid():
        return [runtime_directory()]
    if os.geteuid() == 0:
        return [Path(f"/run/user/{uid}/vfsd"), Path(f"/tmp/vfsd-{uid}")]
    return []


def _socket_name(mountpoint: bytes) -> str:
    return f"{short_key(mountpoint):016x}{SUFFIX}"


def _walk(text: bytes, mounted: set[bytes]) -> tuple[bytes | None, bytes]:
    """Return the innermost mountpoint above or at `text` and what follows it."""
    absolute = text if text.startswith(b"/") else os.path.join(os.getcwdb(), text)
    todo = absolute.split(b"/")
    todo.reverse()
    place = b"/"
    links = 0
    while todo:
        name = todo.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            place = os.path.dirname(place)
            continue
        step = os.path.join(place, name)
        if _is_served(step, mounted):
            inside = os.path.normpath(os.path.join(step, *reversed(todo)))
            return (
                _innermost(inside, mounted) if at_or_below(inside, step) else _walk(inside, mounted)
            )
        with suppress(OSError):
            target = os.readlink(step)
            links += 1
            if links > 40:
                raise UserError(f"{os.fsdecode(text)}: too many levels of symbolic links")
            if target.startswith(b"/"):
                place = b"/"
            todo.extend(reversed(target.split(b"/")))
            continue
        place = step
    return (place, b"") if _is_served(place, mounted) else (None, b"")


def _innermost(path: bytes, mounted: set[bytes]) -> tuple[bytes, bytes]:
    place = path
    while not _is_served(place, mounted):
        place = os.path.dirname(place)
    return place, path[len(place) :].lstrip(b"/")


def _is_served(path: bytes, mounted: set[bytes]) -> bool:
    return path in mounted or (os.path.lexists(socket_path(path)) and is_alive(socket_path(path)))


def _check_private(directory: Path, uid: int) -> None:
    """Raise UserError unless `directory` is the user's own and closed to all others."""
    found = os.lstat(directory)
    if not stat_module.S_ISDIR(found.st_mode):
        problem = "is not a directory"
    elif found.st_uid != uid:
        problem = "belongs to another user"
    elif found.st_mode & 0o077:
        problem = "is open to other users"
    else:
        return
    raise UserError(
        f"{directory} {problem}, so vfsd does not trust it: remove it, or set XDG_RUNTIME_DIR to"
        " a directory of your own",
        ExitCode.DENIED,
    )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(directory / LOCK_NAME, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _clear_if_stale(path: Path) -> bool:
    """Remove a dead daemon's socket, lock held; False if a living daemon listens there."""
    if is_alive(path):
        return False
    with suppress(FileNotFoundError):
        os.unlink(path)
    return True


@contextmanager
def _address(path: Path) -> Iterator[bytes]:
    """Yield an address for `path`; a long one goes by way of its directory's descriptor."""
    text = os.fsencode(path)
    if len(text) <= ADDRESS_LIMIT_BYTES:
        yield text
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield b"/proc/self/fd/%d/%s" % (directory, os.fsencode(path.name))
    finally:
        os.close(directory)
