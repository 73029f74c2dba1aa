"""How much a command changed: the files of the layer it wrote, counted against those below.

Cheap, for the line that ends a run: only the layer is walked, no content is looked at, and no
more than `LOOKED_AT` entries, `DEPTH` deep. A removed directory counts as one, whatever it held;
a file that was opened for writing counts as changed. `vfsd diff` tells exactly. The layer is as
the command left it: what its modes close, or would take too many open files, counts as more.

Concurrency: blocking calls.

Source: Linux overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
import stat

from vfsd.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LOOKED_AT = 10_000
DEPTH = 100
OPAQUE = "user.overlay.opaque"


class Changes(NamedTuple):
    """What was counted; `more` if there were more than would be looked at."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    directories: int = 0
    more: bool = False

    @property
    def any(self) -> bool:
        """Say whether anything is different."""
        return bool(self.added or self.changed or self.removed or self.directories)

    def __str__(self) -> str:
        counts = ((self.added, "added"), (self.changed, "changed"), (self.removed, "removed"))
        told = [f"{count:,} {what}" for count, what in counts if count]
        if not told:
            plural = "directory" if self.directories == 1 else "directories"
            more = "at least " if self.more else ""
            if self.directories:
                return f"{more}{self.directories:,} {plural} changed"
            return "changes that were not counted" if self.more else "no changes"
        number, _, what = told[0].partition(" ")
        first = f"{number} {'file' if number == '1' else 'files'} {what}"
        return ("more than " if self.more else "") + ", ".join([first, *told[1:]])


def count(upper: int, lowers: Sequence[str], limit: int = LOOKED_AT) -> Changes:
    """Count what the open layer `upper` changes of the directories `lowers`, topmost first."""
    walk = _Walk(limit)
    below: list[int] = []
    try:
        for lower in lowers:
            below.append(os.open(lower, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        top = os.dup(upper)
    except OSError:
        for fd in below:
            os.close(fd)
        return Changes(more=True)
    walk.directory(top, below)
    return Changes(walk.added, walk.changed, walk.removed, walk.directories, walk.left < 0)


class _Walk:
    def __init__(self, limit: int) -> None:
        self.added = self.changed = self.removed = self.directories = 0
        self.left = limit

    def directory(self, upper: int, below: list[int], depth: int = 0, opaque: bool = False) -> None:
        """Count one directory; the fds are given away."""
        try:
            opaque = opaque or _opaque(upper)
            shown = _names_below(below) if opaque else None
            with os.scandir(upper) as entries:
                found = [(each.name, each.is_dir(follow_symlinks=False)) for each in entries]
            for name, is_directory in found:
                self.left -= 1
                if self.left < 0:
                    return
                self._entry(upper, below, name, is_directory, depth, opaque)
            if shown is not None:
                self.removed += len(shown.difference(name for name, _ in found))
        except OSError:
            self.left = -1
        finally:
            for fd in (upper, *below):
                os.close(fd)

    def _entry(
        self,
        upper: int,
        below: list[int],
        name: str,
        is_directory: bool,
        depth: int,
        opaque: bool,
    ) -> None:
        there, inner = _below(below, name)
        if is_directory:
            if not inner:
                self.directories += 1
                self.changed += there  # a file is a directory now
            if depth < DEPTH and (fd := _opened(upper, name)) is not None:
                self.directory(fd, inner, depth + 1, opaque)
            else:
                self.left = -1
                for each in inner:
                    os.close(each)
            return
        for fd in inner:
            os.close(fd)
        if is_whiteout(os.stat(name, dir_fd=upper, follow_symlinks=False)):
            self.removed += there
        elif there:
            self.changed += 1
        else:
            self.added += 1


def is_whiteout(status: os.stat_result) -> bool:
    """Say whether a file of a layer stands for a deletion."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _below(below: list[int], name: str) -> tuple[bool, list[int]]:
    """Say whether `name` is shown by the layers below, and open it where it is a directory."""
    there = False
    inner: list[int] = []
    for fd in below:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            continue
        if is_whiteout(status):
            break
        is_directory = stat.S_ISDIR(status.st_mode)
        if there and not is_directory:
            break
        there = True
        if not is_directory:
            break
        directory = _opened(fd, name)
        if directory is None:
            break
        inner.append(directory)
        if _opaque(directory):
            break
    return there, inner


def _opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, OPAQUE) == b"y"
    except OSError:
        return False


def _names_below(below: list[int]) -> set[str]:
    names: set[str] = set()
    gone: set[str] = set()
    for fd in below:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        try:
            for name in os.listdir(readable):
                if name in names or name in gone:
                    continue
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                (gone if is_whiteout(status) else names).add(name)
        finally:
            os.close(readable)
    return names


def _opened(directory: int, name: str) -> int | None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError:  # closed to us by its mode, or there are too many open files
        return None
