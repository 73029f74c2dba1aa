"""Unpacking layer archives of anybody's, one over the other, into a new directory.

Nothing is written outside, whatever an archive says: names must be relative and without ``..``;
the directory of each is opened below the root with no symlink followed; a link leads to a file
that is there; what is there already is removed, never written through. What an archive of files
cannot honestly hold is refused by name, and then the whole import is.

A whiteout hides what the layers below have, also where it stands after files of its own layer.
Where there is a base below the import, it is kept in the overlay's form as well.

Left out and named: what this user may not do (device nodes, foreign owners), and attributes of
the overlay itself.

What it is *not*: the reading of tar (tarread.py), or of images (ociimport.py).

Concurrency: blocking calls, one thread; the directory is nobody else's yet.

Sources: OCI image specification, layer.md; openat2(2).
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable
from contextlib import suppress

from vfsd.attributes import PATH_MAX
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.entryclaims import checked_path, checked_stat, refused
from vfsd.snapshots.filecopy import write_sparsely
from vfsd.snapshots.lastdirectory import LastDirectory
from vfsd.snapshots.layertar import OPAQUE as OPAQUE_FILE
from vfsd.snapshots.layertar import WHITEOUT
from vfsd.snapshots.marks import OPAQUE, OPAQUE_YES, is_mark, opacity, without_marks
from vfsd.snapshots.metadata import MetadataSetter
from vfsd.snapshots.quoting import shown
from vfsd.snapshots.removal import remove_tree
from vfsd.snapshots.syscalls import open_beneath
from vfsd.snapshots.tarformat import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    TarEntry,
)
from vfsd.snapshots.tarread import TarReader
from vfsd.snapshots.view import TreeView

ENTRIES_MAX = 20_000_000
_SPECIAL = {FIFO: stat_module.S_IFIFO, CHARACTER: stat_module.S_IFCHR, BLOCK: stat_module.S_IFBLK}
_PRIVATE = b".wh..wh."
"""Files of the aufs file system's own, which some layers still have."""


class Unpacker:
    """Unpacks into the empty directory `root`, a path; `finish` after the last layer."""

    def __init__(
        self,
        root: str,
        below: TreeView | None = None,
        told: Callable[[int, int], None] | None = None,
    ) -> None:
        """Unpack into `root`; whiteouts are kept for `below`, if that is given."""
        self._path = os.fsencode(root)
        self._fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._below = below
        self._marks = below is not None
        self._told = told
        self._entries = 0
        self._metadata = MetadataSetter(lambda path, what: self.incomplete.append((path, what)))
        self._directories: dict[bytes, TarEntry] = {b"": self._unmentioned(b"")}
        self._own: set[bytes] = set()
        self._way: set[bytes] = set()
        self._last = LastDirectory()
        self.left_out: list[tuple[bytes, str]] = []
        self.incomplete: list[tuple[bytes, str]] = []

    def close(self) -> None:
        """Let go of the directory."""
        self._last.leave()
        os.close(self._fd)

    def layer(self, reader: TarReader) -> None:
        """Unpack one layer over those before. UserError, TarError."""
        self._own, self._way = set(), set()
        for entry in reader:
            self._entries += 1
            if self._entries > ENTRIES_MAX:
                raise UserError(f"it has more than {ENTRIES_MAX} files", ExitCode.DAMAGED)
            path = checked_path(entry.name)
            name = path.rpartition(b"/")[2]
            if name == OPAQUE_FILE:
                self._hide_below(path.rpartition(b"/")[0])
            elif name.startswith(_PRIVATE):
                continue
            elif name.startswith(WHITEOUT):
                self._whiteout(path, name[len(WHITEOUT) :])
            else:
                self._add(path, entry, reader)
            if self._told is not None:
                self._told(1, entry.size)

    def finish(self) -> None:
        """Give directories their attributes, which writing into them would change."""
        for path, entry in sorted(self._directories.items(), reverse=True):
            try:
                fd = open_beneath(self._fd, path, os.O_PATH | os.O_DIRECTORY)
            except OSError as error:
                # Another file came over it, or over one above it.
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue
                raise
            try:
                self._set(f"/proc/self/fd/{fd}", path, entry)
            finally:
                os.close(fd)

    # -- files ----------------------------------------------------------------------------------

    def _add(self, path: bytes, entry: TarEntry, reader: TarReader) -> None:
        if not path:
            if entry.kind != DIRECTORY:
                raise refused(entry.name, "the root is no directory")
            self._directories[b""] = entry
            return
        if entry.kind == CHARACTER and entry.device == (0, 0):
            # The kernel's own whiteout: the archive is of an upper directory as it stood.
            self._whiteout(path, path.rpartition(b"/")[2])
            return
        parent, name = self._parent(path)
        try:
            if entry.kind == DIRECTORY:
                self._directory(parent, name, path, entry)
            elif entry.kind == LINK:
                self._link(parent, name, path, entry)
            elif entry.kind in _SPECIAL:
                # What stood there is gone even if this user cannot make the device.
                self._remove(parent, name, path)
                self._make(parent, name, path, entry, reader)
            else:
                try:
                    self._make(parent, name, path, entry, reader)
                except FileExistsError:  # the last of several entries of one name counts
                    self._remove(parent, name, path)
                    self._make(parent, name, path, entry, reader)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            why = os.strerror(error.errno) if error.errno else str(error)
            raise refused(path, why) from error
        finally:
            os.close(parent)
        self._brought(path)

    def _brought(self, path: bytes) -> None:
        """Remember what the layer in hand has, and what is on the way to it."""
        self._own.add(path)
        path = path.rpartition(b"/")[0]
        while path and path not in self._way:
            self._way.add(path)
            path = path.rpartition(b"/")[0]

    def _directory(self, parent: int, name: bytes, path: bytes, entry: TarEntry) -> None:
        found = _lstat(parent, name)
        hides = found is not None and _is_whiteout(found)
        if found is None or not stat_module.S_ISDIR(found.st_mode):
            self._remove(parent, name, path)
            os.mkdir(name, 0o700, dir_fd=parent)
        self._directories[path] = entry
        if hides:
            self._mark_opaque(path)
        if opacity(entry.xattrs) == OPAQUE_YES:
            self._hide_below(path)

    def _link(self, parent: int, name: bytes, path: bytes, entry: TarEntry) -> None:
        target = checked_path(entry.target.lstrip(b"/"))
        if target == path:
            return
        try:
            fd = open_beneath(self._fd, target, os.O_PATH)
        except OSError as error:
            raise refused(path, f"it is a link to {shown(target)}, which is not there") from error
        try:
            found = os.fstat(fd)
            if stat_module.S_ISDIR(found.st_mode) or _is_whiteout(found):
                raise refused(path, f"it is a link to {shown(target)}, which is no file")
            self._remove(parent, name, path)
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=parent, follow_symlinks=True)
        finally:
            os.close(fd)

    def _make(
        self, parent: int, name: bytes, path: bytes, entry: TarEntry, reader: TarReader
    ) -> None:
        if entry.kind == REGULAR:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=parent)
            try:
                for offset, data in reader.data():
                    write_sparsely(fd, data, offset)
                os.ftruncate(fd, entry.size)
                self._set(fd, path, entry)
            finally:
                os.close(fd)
            return
        if entry.kind == SYMLINK:
            if not entry.target or b"\0" in entry.target or len(entry.target) >= PATH_MAX:
                raise refused(path, "it is a symlink to nothing")
            os.symlink(entry.target, name, dir_fd=parent)
        elif entry.kind in _SPECIAL:
            try:
                device = os.makedev(*entry.device) if entry.kind != FIFO else 0
                os.mknod(name, _SPECIAL[entry.kind] | 0o600, device, dir_fd=parent)
            except (PermissionError, OverflowError):
                self.left_out.append((path, "only root makes devices"))
                return
        else:
            raise refused(path, f"its type {entry.kind!r} is unknown")
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._set(f"/proc/self/fd/{fd}", path, entry)
        finally:
            os.close(fd)

    def _set(self, reached: int | str, path: bytes, entry: TarEntry) -> None:
        for name in entry.xattrs:
            if is_mark(name) and not name.endswith(b".opaque"):
                self.incomplete.append((path, f"the attribute {os.fsdecode(name)}"))
        stat = checked_stat(entry, path)
        xattrs = without_marks(entry.xattrs)
        if path in self._directories:
            with suppress(OSError):
                xattrs[OPAQUE] = os.getxattr(reached, OPAQUE)
        self._metadata.set(reached, path, stat, xattrs)

    # -- what is gone ---------------------------------------------------------------------------

    def _whiteout(self, path: bytes, name: bytes) -> None:
        """Remove what the layers below have under the name that a whiteout stands for."""
        if name in (b"", b".", b".."):
            raise refused(path, "it is a whiteout of nothing")
        above = path.rpartition(b"/")[0]
        gone = above + b"/" + name if above else name
        parent, _ = self._parent(gone)
        try:
            self._remove_lower(parent, name, gone)
            if not self._marks:
                return
            found = _lstat(parent, name)
            if found is None:
                os.mknod(name, stat_module.S_IFCHR, 0, dir_fd=parent)
            elif stat_module.S_ISDIR(found.st_mode):
                self._mark_opaque(gone)
        finally:
            os.close(parent)

    def _hide_below(self, path: bytes) -> None:
        """Remove what the layers below have in a directory."""
        parent, name = self._parent(path + b"/x" if path else b"x")
        try:
            for text in os.listdir(f"/proc/self/fd/{parent}"):
                name = os.fsencode(text)
                self._remove_lower(parent, name, path + b"/" + name if path else name)
        finally:
            os.close(parent)
        if self._marks and path:
            self._mark_opaque(path)

    def _remove_lower(self, parent: int, name: bytes, path: bytes) -> None:
        """Remove a file or a tree, but nothing that the layer in hand brought."""
        found = _lstat(parent, name)
        if found is None:
            return
        if not self._is_own(path):
            self._remove(parent, name, path)
            return
        if not stat_module.S_ISDIR(found.st_mode):
            return
        # A stack of its own: trees are deeper than Python's.
        todo = [path]
        while todo:
            here = todo.pop()
            fd = open_beneath(self._fd, here, os.O_RDONLY | os.O_DIRECTORY)
            try:
                for text in os.listdir(fd):
                    inner = here + b"/" + os.fsencode(text)
                    if not self._is_own(inner):
                        self._remove(fd, os.fsencode(text), inner)
                    elif inner in self._directories:
                        todo.append(inner)
            finally:
                os.close(fd)

    def _is_own(self, path: bytes) -> bool:
        return path in self._own or path in self._way

    def _remove(self, parent: int, name: bytes, path: bytes) -> None:
        found = _lstat(parent, name)
        if found is not None and stat_module.S_ISDIR(found.st_mode):
            # What is remembered of directories in it does no harm: it counts only where a
            # directory stands, and that has been made since.
            self._last.leave()
            remove_tree(f"/proc/self/fd/{parent}/{os.fsdecode(name)}")
        elif found is not None:
            os.unlink(name, dir_fd=parent)
        self._directories.pop(path, None)

    def _mark_opaque(self, path: bytes) -> None:
        fd = open_beneath(self._fd, path, os.O_PATH | os.O_DIRECTORY)
        try:
            os.setxattr(f"/proc/self/fd/{fd}", OPAQUE, OPAQUE_YES)
        finally:
            os.close(fd)

    # -- the way --------------------------------------------------------------------------------

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        """Open the directory of a path, making what is missing of it."""
        way, _, name = path.rpartition(b"/")
        fd = self._last.reach(way)
        if fd is None:
            fd = self._parent_directory(way, path)
            self._last.keep(way, fd)
        return fd, name

    def _parent_directory(self, way: bytes, path: bytes) -> int:
        with suppress(FileNotFoundError):
            return self._open_directory(way, path)
        made = b""
        for part in way.split(b"/"):
            made = made + b"/" + part if made else part
            with suppress(FileNotFoundError):
                os.close(self._open_directory(made, path))
                continue
            entry = self._unmentioned(made)
            fd, last = self._parent(made)
            try:
                self._directory(fd, last, made, entry)
            finally:
                os.close(fd)
            self._brought(made)
        return self._open_directory(way, path)

    def _unmentioned(self, path: bytes) -> TarEntry:
        """Return what a directory is like that is on the way to a file and has no entry."""
        if self._below is not None:
            with suppress(FileNotFoundError, NotADirectoryError):
                stat = self._below.item(path).stat
                if stat_module.S_ISDIR(stat.mode):
                    mode, xattrs = stat.mode & 0o7777, self._below.xattrs(path)
                    return TarEntry(
                        *(path, DIRECTORY, mode, stat.uid, stat.gid, 0, stat.mtime_ns),
                        xattrs=xattrs,
                    )
        return TarEntry(path, DIRECTORY, 0o755, os.geteuid(), os.getegid())

    def _open_directory(self, way: bytes, path: bytes) -> int:
        try:
            return open_beneath(self._fd, way, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV, errno.ENOTDIR):
                if self._is_hidden(way):
                    raise FileNotFoundError from error
                raise refused(path, f"{shown(way)} leads through what is no directory") from error
            raise

    def _is_hidden(self, way: bytes) -> bool:
        """Say whether a whiteout stands at this very place: a directory may come over it."""
        above, _, name = way.rpartition(b"/")
        with suppress(OSError):
            parent = open_beneath(self._fd, above, os.O_PATH | os.O_DIRECTORY)
            try:
                found = _lstat(parent, name)
            finally:
                os.close(parent)
            return found is not None and _is_whiteout(found)
        return False


def _lstat(parent: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_whiteout(found: os.stat_result) -> bool:
    return stat_module.S_ISCHR(found.st_mode) and found.st_rdev == 0
