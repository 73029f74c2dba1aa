"""A view, or a directory, as plain values that can be compared file by file."""

from __future__ import annotations

import os
import stat
from collections import defaultdict

from vfsd.snapshots.view import TreeView


def dump(view: TreeView) -> dict[bytes, tuple]:
    """Return every path with what a reader can see of it; hard links by their first path."""
    files: dict[bytes, tuple] = {}
    first: dict[object, bytes] = {}
    todo = [b""]
    while todo:
        path = todo.pop()
        item = view.item(path)
        if stat.S_ISDIR(item.stat.mode):
            listing = view.scan(path)
            for name in sorted(listing):
                inner = path + b"/" + name if path else name
                assert view.item(inner)._replace(stat=None) == listing[name]._replace(stat=None)
                todo.append(inner)
        files[path] = _seen(view, path, item.stat)
    for path in sorted(files):
        item = view.item(path)
        if not stat.S_ISDIR(item.stat.mode):
            files[path] += (first.setdefault(item.identity, path),)
    return files


def _seen(view: TreeView, path: bytes, attributes) -> tuple:
    kind = stat.S_IFMT(attributes.mode)
    content: bytes | int | None = None
    if kind == stat.S_IFREG:
        with view.open(path) as file:
            content = file.read()
    elif kind == stat.S_IFLNK:
        content = view.readlink(path)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        content = attributes.rdev
    size = None if kind == stat.S_IFDIR else attributes.size
    return (
        attributes.mode,
        attributes.uid,
        attributes.gid,
        size,
        attributes.mtime_ns,
        content,
        dict(view.xattrs(path)),
    )


def dump_directory(root: str | os.PathLike[str]) -> dict[bytes, tuple]:
    """Return the same of a directory, read by plain calls: not by the code under test."""
    top = os.fsencode(root)
    files: dict[bytes, tuple] = {}
    names: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    for folder, folders, others in os.walk(top):
        for name in [b"", *folders, *others] if folder == top else [*folders, *others]:
            full = os.path.join(folder, name) if name else folder
            path = os.path.relpath(full, top) if name else b""
            try:
                found = os.lstat(full)
            except FileNotFoundError:
                # The kernel lists a whiteout where a directory has nothing below to merge with.
                continue
            kind = stat.S_IFMT(found.st_mode)
            content: bytes | int | None = None
            if kind == stat.S_IFREG:
                with open(full, "rb") as file:
                    content = file.read()
            elif kind == stat.S_IFLNK:
                content = os.readlink(full)
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = found.st_rdev
            files[path] = (
                found.st_mode,
                found.st_uid,
                found.st_gid,
                None if kind == stat.S_IFDIR else found.st_size,
                found.st_mtime_ns,
                content,
                {
                    os.fsencode(each): os.getxattr(full, each, follow_symlinks=False)
                    for each in os.listxattr(full, follow_symlinks=False)
                },
            )
            if kind != stat.S_IFDIR:
                names[found.st_dev, found.st_ino].append(path)
    for paths in names.values():
        for path in paths:
            files[path] += (min(paths),)
    return files
