"""A file system as a plain dict: what the model test believes to be true.

It predicts, for each operation, either success or the set of errnos that apply. No modes, no
times: names, types, data, links, xattrs. Copying it (`copy`) is a snapshot.

Source: the manual pages of the calls; rename(2) for the rules of replacing and exchanging.
Concurrency: none; a model test runs one operation at a time.
"""

from __future__ import annotations

import errno
from copy import deepcopy
from dataclasses import dataclass, field

NOREPLACE, EXCHANGE = 1, 2


@dataclass(slots=True)
class Item:
    """A file of any type; two names of one file hold the same object."""

    kind: str
    """``file``, ``directory`` or ``symlink``."""
    data: bytearray = field(default_factory=bytearray)
    target: bytes = b""
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    links: int = 1


class Oracle:
    """Paths to items; the root is not in it, and every parent of a path is a directory."""

    def __init__(self) -> None:
        self.items: dict[bytes, Item] = {}

    def copy(self) -> Oracle:
        """Return an independent copy; names of one file stay names of one file."""
        return deepcopy(self)

    def is_directory(self, path: bytes) -> bool:
        return path == b"" or (path in self.items and self.items[path].kind == "directory")

    def names(self, path: bytes) -> list[bytes]:
        """Return the names in a directory, sorted."""
        prefix = path + b"/" if path else b""
        inside = (each[len(prefix) :] for each in self.items if each.startswith(prefix))
        return sorted(name for name in inside if b"/" not in name)

    # -- predictions ----------------------------------------------------------------------

    def make_errors(self, path: bytes) -> set[int]:
        return {errno.EEXIST} if path in self.items else set()

    def unlink_errors(self, path: bytes) -> set[int]:
        if path not in self.items:
            return {errno.ENOENT}
        return {errno.EISDIR} if self.is_directory(path) else set()

    def rmdir_errors(self, path: bytes) -> set[int]:
        if path not in self.items:
            return {errno.ENOENT}
        if not self.is_directory(path):
            return {errno.ENOTDIR}
        return {errno.ENOTEMPTY} if self.names(path) else set()

    def rename_errors(self, path: bytes, new_path: bytes, flags: int) -> set[int]:
        source, target = self.items.get(path), self.items.get(new_path)
        errors = set()
        if source is None:
            errors.add(errno.ENOENT)
        if flags & NOREPLACE and target is not None:
            errors.add(errno.EEXIST)
        if flags & EXCHANGE and target is None:
            errors.add(errno.ENOENT)
        if new_path.startswith(path + b"/"):
            errors.add(errno.EINVAL)
        if path.startswith(new_path + b"/"):
            errors.add(errno.EINVAL if flags & EXCHANGE else errno.ENOTEMPTY)
        if source is None or target is None or flags or source is target:
            return errors
        if target.kind == "directory" and source.kind != "directory":
            errors.add(errno.EISDIR)
        if target.kind != "directory" and source.kind == "directory":
            errors.add(errno.ENOTDIR)
        if target.kind == "directory" and self.names(new_path):
            errors.add(errno.ENOTEMPTY)
        return errors

    # -- changes, which are called only where no error is predicted -------------------------

    def unlink(self, path: bytes) -> None:
        self.items.pop(path).links -= 1

    def link(self, path: bytes, new_path: bytes) -> None:
        item = self.items[path]
        item.links += 1
        self.items[new_path] = item

    def rename(self, path: bytes, new_path: bytes, flags: int) -> None:
        if self.items[path] is self.items.get(new_path):
            return
        moved = self._take(path)
        replaced = self._take(new_path)
        if flags & EXCHANGE:
            self._give(path, replaced)
        else:
            for item in replaced.values():
                item.links -= 1
        self._give(new_path, moved)

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        write_into(self.items[path].data, offset, data)

    def truncate(self, path: bytes, size: int) -> None:
        content = self.items[path].data
        content.extend(bytes(max(0, size - len(content))))
        del content[size:]

    def _take(self, path: bytes) -> dict[bytes, Item]:
        inside = [each for each in self.items if each == path or each.startswith(path + b"/")]
        return {each[len(path) :]: self.items.pop(each) for each in inside}

    def _give(self, path: bytes, items: dict[bytes, Item]) -> None:
        for suffix, item in items.items():
            self.items[path + suffix] = item


def write_into(content: bytearray, offset: int, data: bytes) -> None:
    """Write `data` at `offset`, filling a gap with zeros."""
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data
