"""Applying a snapshot to a directory of the host.

What is written was planned (applyplan.py). Files and directories are made and replaced, each in
one step (hostwriter.py); then what is gone is removed, deepest first, so that nothing is lost
while something is still missing; last, directories get their permissions and times.

An `apply` that was killed, or that failed at some paths, is repeated: what is done already
differs no more. What a killed one left under staging names is taken away first.

What it is *not*: durable against a power failure, as cp(1) is not; or locked against others who
change the directory, except a second `apply`. A file that somebody changes between the check
and its turn is seen, left alone and told.

Concurrency: blocking, one thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat as stat_module
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.changes import Aspect, Change, is_directory, order
from vfsd.snapshots.hostwriter import HostWriter, Place
from vfsd.snapshots.patch import kind_name
from vfsd.snapshots.quoting import shown
from vfsd.snapshots.view import TreeView

_COPIED_BYTES_MAX = 64 << 20
"""A larger file whose attributes alone change is not copied to change them in one step."""

_HOPELESS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What ends the whole: the next path would meet it too."""


class _Meanwhile(OSError):
    """Somebody changed the path after it was compared."""


@dataclass(slots=True)
class Outcome:
    """What was done. `failed` holds path and reason; `left_out` what cannot be applied at all."""

    applied: int = 0
    failed: list[tuple[bytes, str]] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)
    left_out: list[tuple[bytes, str]] = field(default_factory=list)
    incomplete: list[tuple[bytes, str]] = field(default_factory=list)
    errors: list[OSError] = field(default_factory=list)
    error: OSError | None = None
    """What ended it before its time; `waiting` then says what was not come to."""


@contextmanager
def locked(directory: str | bytes) -> Iterator[int]:
    """Open the directory for one `apply` at a time. UserError (REFUSED) if there is another."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another vfsd apply is at work in {os.fsdecode(directory)}; wait for it",
                ExitCode.REFUSED,
            ) from None
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL):
                raise
        yield fd
    finally:
        os.close(fd)


class Applier:
    """Writes changes below the directory open as `root`; `told` counts files and bytes.

    Without `set_id`, files do not get set-user-ID and set-group-ID bits, nor capabilities.
    """

    def __init__(
        self,
        root: int,
        view: TreeView,
        told: Callable[[int, int], None] | None = None,
        *,
        set_id: bool = True,
    ) -> None:
        self.outcome = Outcome()
        self._view = view
        self._told = told or _untold
        self._writer = HostWriter(
            root, self._complain, lambda size: self._told(0, size), set_id=set_id
        )
        self._touched: set[bytes] = set()
        self._unmade: set[bytes] = set()

    def run(self, changes: Sequence[Change], stale: Iterable[bytes] = ()) -> Outcome:
        """Apply the changes, which lead from the directory as it is to the view."""
        for path in stale:
            with self._failing(path):
                self._writer.discard_staged(path)
                self._touched.add(path.rpartition(b"/")[0])
        by_path = {change.path: change for change in changes}
        making = [change for change in changes if change.new is not None]
        removing = [
            change
            for change in reversed(changes)
            if change.new is None and not _is_below_replaced(change, by_path)
        ]
        steps = [*making, *removing]
        for position, change in enumerate(steps):
            if self.outcome.error is not None:
                self.outcome.waiting = sorted((each.path for each in steps[position:]), key=order)
                break
            self._step(change, changes)
        self._finish(by_path)
        return self.outcome

    def _step(self, change: Change, changes: Sequence[Change]) -> None:
        if reason := _cannot(change):
            self.outcome.left_out.append((change.path, reason))
            self._unmade.add(change.path)
            return
        before = len(self.outcome.failed)
        with self._failing(change.path):
            if change.old is not None and is_directory(change.old) and change.new is not None:
                self._empty(change, changes)
            self._check_unchanged(change)
            self._write(change)
            self.outcome.applied += 1
            self._touched.add(change.path.rpartition(b"/")[0])
            self._told(1, 0)
        if len(self.outcome.failed) > before:
            self._unmade.add(change.path)

    def _write(self, change: Change) -> None:
        path, old, new = change.path, change.old, change.new
        if new is None:
            self._writer.remove(path, directory=is_directory(old))
        elif is_directory(new):
            if not is_directory(old):
                self._writer.make_directory(path, self._view, new, _place(change))
            elif change.aspects != Aspect.TIME:
                self._writer.set_metadata(path, self._view, new.stat)
            self._touched.add(path)
        elif _needs_replacing(change):
            if not self._link(change):
                self._writer.make(path, self._view, new, _place(change))
        else:
            self._writer.set_metadata(path, self._view, new.stat)

    def _link(self, change: Change) -> bool:
        """Make the path a link to the one that it is one file with; False if that cannot be."""
        leader = change.link_to
        if leader is None or leader in self._unmade:
            return False
        done = self._writer.link(change.path, leader, _place(change))
        if not done:
            self._complain(change.path, "that it is one file with " + shown(leader))
        return done

    def _empty(self, change: Change, changes: Sequence[Change]) -> None:
        """Remove what is in a directory that another type of file is to replace."""
        if is_directory(change.new):
            return
        inside = [each for each in changes if each.path.startswith(change.path + b"/")]
        for each in reversed(inside):
            if each.old is not None:
                self._check_unchanged(each)
                self._writer.remove(each.path, directory=is_directory(each.old))
                self.outcome.applied += 1
                self._told(1, 0)

    def _check_unchanged(self, change: Change) -> None:
        """Refuse to touch what somebody changed after it was compared."""
        try:
            now = self._writer.lstat(change.path)
        except FileNotFoundError:
            if change.old is None:
                return
            raise
        if change.old is None:
            raise _Meanwhile("it appeared on the host meanwhile")
        then = change.old.stat
        if stat_module.S_IFMT(now.st_mode) == stat_module.S_IFMT(then.mode) and (
            stat_module.S_ISDIR(now.st_mode)
            or (now.st_size, now.st_mtime_ns) == (then.size, then.mtime_ns)
        ):
            return
        raise _Meanwhile("it was changed on the host meanwhile")

    # -- the end --------------------------------------------------------------------------------

    def _finish(self, by_path: dict[bytes, Change]) -> None:
        """Give directories their times, and those that were opened up their permissions.

        Also after a failure: no directory stays open that was not.
        """
        opened = self._writer.opened_up
        for path in sorted(self._touched | opened.keys(), key=order, reverse=True):
            with self._failing(path, missing_is_fine=True):
                self._writer.lstat(path)
                self._finish_directory(path, by_path)
        # Reaching the last ones may have opened others.
        for path in sorted(opened, key=order, reverse=True):
            with self._failing(path, missing_is_fine=True):
                self._writer.set_mode(path, self._final_mode(path, by_path, opened[path]))

    def _finish_directory(self, path: bytes, by_path: dict[bytes, Change]) -> None:
        try:
            stat = self._view.item(path).stat
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat_module.S_ISDIR(stat.mode):
            self._writer.set_time(path, stat)

    def _final_mode(self, path: bytes, by_path: dict[bytes, Change], before: int) -> int:
        change = by_path.get(path)
        if change is not None and change.new is not None and path not in self._unmade:
            return change.new.stat.mode
        return before

    def _complain(self, path: bytes, what: str) -> None:
        self.outcome.incomplete.append((path, what))

    @contextmanager
    def _failing(self, path: bytes, *, missing_is_fine: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if missing_is_fine and error.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            self.outcome.failed.append((path, _reason(error)))
            self.outcome.errors.append(error)
            if error.errno in _HOPELESS:
                self.outcome.error = error


def _needs_replacing(change: Change) -> bool:
    """Say whether the file is made anew: for its content, or to change many attributes at once."""
    if change.old is None or change.new is None:
        return True
    if change.aspects & (Aspect.KIND | Aspect.CONTENT | Aspect.LINKS):
        return True
    if change.old.stat.nlink > 1 or change.link_to is not None:
        # In place it would change for the file's other names as well, outside included.
        return True
    # Each of these is one call. A change of owner takes set-id bits away, extended attributes
    # are a call each.
    alone = change.aspects in (Aspect.MODE, Aspect.TIME)
    return not alone and change.new.stat.size <= _COPIED_BYTES_MAX


def _is_below_replaced(change: Change, by_path: dict[bytes, Change]) -> bool:
    """Say whether the path goes with a directory that another type of file replaces."""
    path = change.path
    while path:
        path, _, _ = path.rpartition(b"/")
        above = by_path.get(path)
        if above is not None and above.new is not None and not is_directory(above.new):
            return True
    return False


def _cannot(change: Change) -> str:
    """Say why a path is left out, or nothing."""
    if change.new is None:
        return ""
    mode = change.new.stat.mode
    if stat_module.S_ISSOCK(mode) or stat_module.S_ISCHR(mode) or stat_module.S_ISBLK(mode):
        return f"a {kind_name(change.new)} is not made on the host"
    return ""


def _place(change: Change) -> Place:
    if change.old is None:
        return Place.FREE
    return Place.EMPTY_DIRECTORY if is_directory(change.old) else Place.FILE


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _untold(files: int, size: int) -> None:
    """Tell nobody."""
