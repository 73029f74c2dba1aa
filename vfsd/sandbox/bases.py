"""What a command works on: a base, found from the words of the command line.

    --base absent          the vfsd mount that holds the current directory, or else the project
                           that it lies in (projects.py); the current directory is kept
    --base DIR             that directory only; in a mount, a prefix of it
    --base snapshot:NAME   a snapshot (as `--from NAME`)
    --base FILE            an archive
    --base git+URL@REF     a branch, tag or commit of a git repository (gitbase.py)
    --files FILE           a map of names to contents, as JSON (filesmap.py)

A directory is shown at its own path, so that what a tool writes down about where things are is
true outside as well; everything else, having no path, at ``/work``. `--at` says otherwise.

Concurrency: short blocking calls, except where a repository is fetched.
"""

from __future__ import annotations

import os

from vfsd import mountinfo
from vfsd.blocks import suppress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.named import NamedTuple
from vfsd.sandbox.mounts import here, served
from vfsd.sandbox.projects import holds_home, project_root

WORK = "/work"
"""Where a base without a path of its own is shown."""

SNAPSHOT = "snapshot:"

LOOKED_AT = 10_000

RESERVED = ("/proc", "/dev", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/run/command")
"""Places of the sandbox's own that no base may stand on; below /usr it may."""


class Base(NamedTuple):
    """What is found: host directories to show as one tree, the topmost first."""

    told: str
    """What it is, in a few words, for `vfsd ps`."""
    lowers: tuple[str, ...]
    shown: str
    """Where the tree is inside."""
    directory: str
    """Where the command starts."""
    host: str | None = None
    """The directory of the host that changes may be written to, if there is one."""
    below: str | None = None
    """What a snapshot of the layer stands on, below the layers of another one. None: nothing, so
    that it has to hold all of the base itself."""

    def moved(self, at: str) -> Base:
        """Return the same, shown at `at`. UserError if that is not an absolute path."""
        if not at.startswith("/"):
            raise _failure(f"--at {at!r} is not an absolute path; write --at /work")
        at = os.path.normpath(f"/{at.lstrip('/')}")
        inner = os.path.relpath(self.directory, self.shown)
        return self._replace(shown=at, directory=os.path.normpath(os.path.join(at, inner)))


def default_base() -> Base:
    """Return the base of a command that was told none."""
    directory = os.path.realpath(here())
    if in_mount(directory):
        place = served(directory)
        return Base(
            place.mountpoint, (place.mountpoint,), place.mountpoint, directory, place.mountpoint
        )
    root = project_root(directory)
    if holds_home(root) or root == "/":
        raise _failure(
            f"{root} would show the command all of this user's own files; 'cd' into a project,"
            " or name a directory with --base DIR"
        )
    return _of_directory(root, directory)


def directory_base(name: str) -> Base:
    """Return the base for a directory that was named."""
    directory = os.path.realpath(name)
    if in_mount(directory):
        served(directory)
    return _of_directory(directory, directory)


def in_mount(directory: str) -> bool:
    """Say whether a vfsd mount shows `directory`, also one whose daemon is gone."""
    mount = mountinfo.showing(mountinfo.read(), os.fsencode(directory))
    return mount is not None and mount.kind == b"fuse.vfsd"


def check_shown(shown: str) -> None:
    """UserError where the sandbox has something of its own at `shown`."""
    own = f"{shown}/".startswith(("/proc/", "/dev/")) and not shown.startswith("/dev/shm/")
    if own or shown == "/" or shown in RESERVED:
        raise _failure(f"{shown} is the sandbox's own; show the base elsewhere with --at /work")


def foreign_owner(base: Base) -> str | None:
    """Return a layer whose owner or group the kernel's overlayfs cannot keep for this user.

    Such a file cannot be copied up (EOVERFLOW): in a user namespace that an ordinary user makes,
    no other ids exist. Only the layers' own directories are looked at.
    """
    if os.geteuid() == 0:
        return None
    for lower in base.lowers:
        status = os.stat(lower)
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            return lower
    return None


def foreign_below(base: Base) -> str | None:
    """Return a file of the base that the kernel's overlayfs cannot copy up for this user.

    Looks at `LOOKED_AT` files at most: it is for a hint where a command has failed.
    """
    mine = (os.geteuid(), os.getegid())
    if mine[0] == 0 or base.host is None:
        return None
    left = LOOKED_AT
    for directory, folders, files in os.walk(base.host):
        for name in (*folders, *files):
            left -= 1
            path = os.path.join(directory, name)
            with suppress(OSError):
                status = os.lstat(path)
                if (status.st_uid, status.st_gid) != mine:
                    return path
            if left <= 0:
                return None
    return None


def _of_directory(root: str, directory: str) -> Base:
    try:
        os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except NotADirectoryError:
        raise _failure(f"{root} is not a directory, so it cannot be worked on") from None
    except FileNotFoundError:
        raise _failure(f"{root} does not exist; create it, or name another base") from None
    except PermissionError:
        raise _failure(f"this user may not read {root}; name another base") from None
    return _shown_as_is(root, directory)


def _shown_as_is(root: str, directory: str) -> Base:
    return Base(root, (root,), root, directory, root, root)


def _failure(message: str) -> UserError:
    return UserError(message, ExitCode.RUN_FAILED)
