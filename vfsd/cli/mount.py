"""`vfsd mount` and `vfsd unmount`: start the daemon of a mountpoint, and end it.

`mount` checks everything it can before it starts, and forks before trio runs: the parent waits
until the mount answers (or until the daemon says why not) and passes the result on.

Sources: mount.fuse3(8), fusermount3(1), umount2(2), daemon(7).
"""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from vfsd import runtime
from vfsd.cli.mountoptions import asked, mountpoint_of
from vfsd.config import MountConfig
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.storemark import stores

CLEAR_ATTEMPTS = 50
"""Looks, 20 ms apart, for a daemon to end after its mount is gone."""

OWN_END_ATTEMPTS = 10
"""As many of them before it is told to: another mount namespace may have a copy of the mount."""

STOP_TIMEOUT_S = 5.0
"""Longest wait for a daemon's word that it ends."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd mount` or `vfsd unmount`."""
    return _mount(arguments) if verb == "mount" else _unmount(arguments)


def _mount(arguments: list[str]) -> int:
    given = asked(arguments)
    mountpoint = _usable_mountpoint(given.mountpoint, allow_nonempty=given.allow_nonempty)
    config = given.config(mountpoint)

    def reread() -> MountConfig:
        return given.config(mountpoint)

    _check_fuse()
    from vfsd.cli import launch

    if given.foreground:
        return launch.foreground(config, reread)
    return launch.background(config, reread)


def _check_fuse() -> None:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise UserError(
            "/dev/fuse does not exist; load the kernel module with 'modprobe fuse' as root",
            ExitCode.UNAVAILABLE,
        ) from None
    except PermissionError:
        raise UserError(
            "/dev/fuse cannot be opened by this user; 'chmod 0666 /dev/fuse' as root opens it",
            ExitCode.UNAVAILABLE,
        ) from None
    except OSError as error:
        raise UserError(
            f"/dev/fuse cannot be opened ({error.strerror}); 'vfsd doctor' looks further",
            ExitCode.UNAVAILABLE,
        ) from None


def _usable_mountpoint(given: str, *, allow_nonempty: bool) -> str:
    """Return the mountpoint's real path, after clearing a dead daemon's mount there."""
    if not given:
        raise UserError("the mountpoint is empty; name a directory", ExitCode.USAGE)
    path = _real(given)
    if os.fsencode(path) in runtime.mountpoints():
        if runtime.is_alive(runtime.socket_path(os.fsencode(path))) or not _is_dead(path):
            raise UserError(
                f"{path} is mounted by vfsd already; 'vfsd unmount {path}' ends that",
                ExitCode.REFUSED,
            )
        print(f"vfsd: clearing the mount that a dead daemon left at {path}", file=sys.stderr)
        _detach(path, lazy=True)
    try:
        held = os.listdir(path)
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; make it with 'mkdir -p {path}'", ExitCode.NOT_FOUND
        ) from None
    except NotADirectoryError:
        raise UserError(
            f"{path} is not a directory; a mountpoint has to be one", ExitCode.USAGE
        ) from None
    except PermissionError:
        raise UserError(
            f"{path} cannot be read by this user; choose a directory of your own",
            ExitCode.DENIED,
        ) from None
    if held and not allow_nonempty:
        raise UserError(
            f"{path} is not empty and the mount would hide what it holds; "
            "--allow-nonempty mounts all the same",
            ExitCode.REFUSED,
        )
    if not os.access(path, os.W_OK):
        raise UserError(
            f"{path} is not writable by this user, so fusermount3 would refuse it; "
            "choose a directory of your own",
            ExitCode.DENIED,
        )
    return path


def _real(given: str) -> str:
    """Return the path without symlinks, and without touching a mount that stands there."""
    parent, name = os.path.split(os.path.abspath(given))
    path = os.path.join(os.path.realpath(parent), name)
    if os.fsencode(path) not in runtime.mountpoints() and os.path.islink(path):
        return os.path.realpath(path)
    return path


def _is_dead(path: str) -> bool:
    try:
        os.statvfs(path)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def _unmount(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd unmount", description="Unmount a directory and end its daemon."
    )
    parser.add_argument("mountpoint", nargs="?")
    parser.add_argument(
        "--config", metavar="FILE", help="the mountpoint that a configuration names"
    )
    parser.add_argument(
        "--dead", action="store_true", help="only what a dead daemon left, if there is any"
    )
    parser.add_argument(
        "--lazy",
        action="store_true",
        help="even if files are in use: they fail from then on, the directory is free at once",
    )
    given = parser.parse_args(arguments)
    path = _real(mountpoint_of(given.mountpoint, given.config))
    is_mounted = os.fsencode(path) in runtime.mountpoints()
    if given.dead:
        socket = runtime.socket_path(os.fsencode(path))
        if is_mounted and not runtime.is_alive(socket) and _is_dead(path):
            _detach(path, lazy=True)
        return ExitCode.OK
    if not is_mounted:
        raise UserError(
            f"nothing is mounted by vfsd at {path}; 'vfsd status' lists the mounts",
            ExitCode.NOT_MOUNTED,
        )
    socket = runtime.socket_path(os.fsencode(path))
    if not given.lazy:
        _check_no_run(path)
    _detach(path, lazy=given.lazy)
    if given.lazy or not _ends(socket, OWN_END_ATTEMPTS):
        _stop(socket, path)
        _ends(socket, CLEAR_ATTEMPTS)
    # As long as it takes: whoever takes "unmounted" for "stored" would lose what is not.
    while stores(socket):
        time.sleep(0.02)
    return ExitCode.OK


def _check_no_run(path: str) -> None:
    """UserError if a sandbox works on the mount: to the kernel it is not in use by that."""
    from vfsd.sandbox.runs import living

    for run in living():
        if f"{run.base}/".startswith(f"{path}/"):
            raise UserError(
                f"{path} is in use by the run {run.id} ({' '.join(run.command)}); end it with"
                f" 'vfsd kill {run.id}', or use 'vfsd unmount --lazy'",
                ExitCode.REFUSED,
            )


def _ends(socket: Path, attempts: int) -> bool:
    for _ in range(attempts):
        if not runtime.is_alive(socket):
            return True
        time.sleep(0.02)
    return False


def _stop(socket: Path, path: str) -> None:
    """Tell a daemon to end whose mount is held by open files or another mount namespace."""
    from vfsd.client import Client

    served = runtime.Served(socket, os.fsencode(path), b"", os.geteuid())
    # An error says that it ended by itself, which is as good.
    with suppress(OSError, UserError), Client(served, STOP_TIMEOUT_S) as client:
        client.stop()


def _detach(path: str, *, lazy: bool) -> None:
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(
            "fusermount3 is missing; 'apt-get install fuse3' as root brings it",
            ExitCode.UNAVAILABLE,
        ) from None
    if done.returncode == 0:
        return
    said = done.stderr.strip()
    if "busy" in said.lower():
        raise UserError(
            f"{path} is in use; end what works in it (see 'fuser -m {path}'), "
            "or use 'vfsd unmount --lazy'",
            ExitCode.REFUSED,
        )
    raise UserError(
        f"{path} cannot be unmounted: {said}; 'vfsd doctor' says what mends it", ExitCode.FAILED
    )
