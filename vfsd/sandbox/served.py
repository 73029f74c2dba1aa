"""The engine `fuse`: a layer over the base by vfsd's own overlay provider, on a private mount.

For a base or a machine over which the kernel mounts no overlayfs. It behaves the same, starts
slower, and serves each write through a daemon that belongs to this run. A base that is not a
directory, such as an archive, is shown by such a mount as well.

What it is *not*: the daemon (vfsd/cli/companion.py runs it in a process of its own).

Concurrency: one thread; a daemon's start is waited for.

Source: fusermount3(1).
"""

from __future__ import annotations

import os
import select
import stat

from vfsd import mountinfo
from vfsd.blocks import suppress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.signals import signal
from vfsd.sourcelist import join_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Source = tuple[str, Mapping[str, str]]
    """A provider's source, and its options."""
    Serve = Callable[[int, int, str, str, Mapping[str, str]], int]
    """What serves in a process of its own, see vfsd/cli/companion.py."""


END_S = 10.0
"""How long a daemon may take to unmount before it is killed."""


class PrivateMount:
    """A source, served at `mountpoint` (made if missing) by a daemon of this run's own."""

    def __init__(self, serve: Serve, mountpoint: str, source: Source, log: str) -> None:
        """Return once it answers. UserError (125) in the daemon's own words if it does not."""
        self.mountpoint = mountpoint
        os.makedirs(mountpoint, 0o700, exist_ok=True)
        reader, writer = os.pipe()
        try:
            self._pid = _start(serve, writer, mountpoint, source, log)
        finally:
            os.close(writer)
        self._fd: int | None = os.pidfd_open(self._pid)
        with open(reader, "rb") as report:
            said = report.read()
        if said or _ended(self._fd, 0):
            self.close()
            why = os.fsdecode(said[1:]) or f"its daemon ended; {log} says more"
            raise UserError(f"the base cannot be mounted: {why}", ExitCode.RUN_FAILED)

    def close(self) -> None:
        """Unmount and end the daemon. May be called twice."""
        if self._fd is None:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGTERM)
            if not _ended(self._fd, END_S):
                signal.pidfd_send_signal(self._fd, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._fd)
        self._fd = None
        # Not os.path.ismount: to that a mount whose daemon was killed is none.
        if any(each.mountpoint == os.fsencode(self.mountpoint) for each in mountinfo.read()):
            detach(self.mountpoint)


class Served(Attendant):
    """An overlay for one run, as `Overlaid`. `place` keeps the layer, `directory` is the run's.

    With `size_bytes` the layer is in the daemon's memory, holds so much, and ends with it.
    """

    name = "fuse"

    def __init__(
        self,
        serve: Serve,
        lowers: Sequence[str],
        place: str | None,
        directory: str,
        size_bytes: int | None = None,
    ) -> None:
        self.lowers = tuple(lowers)
        self.tree: str | None = None
        self.upper: int | None = None
        sources = join_sources(f"passthrough:{lower}" for lower in lowers)
        options = {"lower": sources, "upper": "memory", "size": str(size_bytes)}
        if size_bytes is None:
            upper = os.path.join(directory if place is None else place, "upper")
            os.makedirs(upper, 0o700, exist_ok=True)
            self.tree = os.path.join(upper, "layers", "1")
            options = {"lower": sources, "upper": f"passthrough:{upper}"}
        self._mount = PrivateMount(
            serve,
            os.path.join(directory, "mount"),
            ("overlay", options),
            os.path.join(directory, "log"),
        )

    @property
    def source(self) -> str:
        """Where the overlay shows, for bwrap."""
        return self._mount.mountpoint

    def ended(self, code: int) -> int:
        """Have everything that was written in the layer, and open that."""
        self._mount.close()
        if self.tree is not None:
            with suppress(FileExistsError):
                self._make_empty(self.tree)
            with suppress(OSError):
                self.upper = os.open(self.tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return code

    def _make_empty(self, tree: str) -> None:
        """Make the layer of a command that changed nothing: it shows as the base's root does."""
        os.mkdir(tree, 0o700)
        below = os.stat(self.lowers[0])
        os.utime(tree, ns=(below.st_atime_ns, below.st_mtime_ns))
        os.chmod(tree, stat.S_IMODE(below.st_mode))

    def close(self) -> None:
        """End the daemon, also where the run never came to its end."""
        self._mount.close()
        if self.upper is not None:
            os.close(self.upper)
            self.upper = None


def detach(mountpoint: str) -> None:
    """Take away a mount whose daemon is gone; what it shows is dropped."""
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    with suppress(OSError):
        words = ["fusermount3", "-u", "-z", "--", mountpoint]
        pid = os.posix_spawnp(words[0], words, os.environ, file_actions=null)
        os.waitpid(pid, 0)


def _start(serve: Serve, writer: int, mountpoint: str, source: Source, log: str) -> int:
    """Fork: an interpreter of its own need not be one that this user may start."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for fd, number in ((null, 0), (said, 1), (said, 2)):
            os.dup2(fd, number)
        # Locks and leases are the run's, and end with it.
        for each in map(int, os.listdir("/proc/self/fd")):
            if each > 2 and each != writer:
                with suppress(OSError):
                    os.close(each)
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
            signal.signal(name, signal.SIG_DFL)
        code = serve(writer, parent, mountpoint, *source)
    finally:
        os._exit(code)


def _ended(pidfd: int, patience_s: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(patience_s * 1000))
