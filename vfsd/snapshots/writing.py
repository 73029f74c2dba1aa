"""Writing a view's files into a directory of the host, with everything that a layer needs.

Types, contents, modes, owners (as far as the user may), times, extended attributes, hard links;
whiteouts are devices like any other, which ordinary users may make as well.

What it is *not*: applying to a directory that somebody uses; the target is new and nobody's yet.

Concurrency: blocking calls. An error leaves an unfinished target, for the caller to remove.

Source: mknod(2): a character device 0:0 needs no privilege since Linux 5.8.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat as stat_module
from collections.abc import Hashable, Mapping
from contextlib import suppress

from vfsd.attributes import Stat
from vfsd.snapshots.view import Item, TreeView

_CHUNK_BYTES = 1 << 20


def write_tree(view: TreeView, target: str) -> None:
    """Make the directory `target` with all that `view` shows. OSError names what failed."""
    known: dict[Hashable, bytes] = {}
    top = os.fsencode(target)
    os.mkdir(top, 0o700)
    finished: list[tuple[bytes, Item]] = [(b"", view.item(b""))]
    todo = [b""]
    while todo:
        path = todo.pop()
        for name, item in view.scan(path).items():
            inner = path + b"/" + name if path else name
            if stat_module.S_ISDIR(item.stat.mode):
                os.mkdir(os.path.join(top, inner), 0o700)
                finished.append((inner, item))
                todo.append(inner)
            else:
                write_file(view, inner, item, os.path.join(top, inner), known)
    # Children change their directory's times, and a closed directory takes no children.
    for path, item in reversed(finished):
        set_attributes(os.path.join(top, path) if path else top, item.stat, view.xattrs(path))


def write_file(
    view: TreeView, path: bytes, item: Item, target: bytes, known: dict[Hashable, bytes]
) -> None:
    """Make one file that is no directory; `known` finds its hard links."""
    first = known.setdefault(item.identity, target)
    if first != target:
        try:
            os.link(first, target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            known[item.identity] = target
        else:
            return
    mode = item.stat.mode
    if stat_module.S_ISREG(mode):
        with view.open(path) as source, open(target, "xb") as file:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
    elif stat_module.S_ISLNK(mode):
        os.symlink(view.readlink(path), target)
    else:
        os.mknod(target, stat_module.S_IFMT(mode) | 0o600, item.stat.rdev)
    set_attributes(target, item.stat, view.xattrs(path))


def set_attributes(target: bytes, stat: Stat, xattrs: Mapping[bytes, bytes]) -> None:
    """Give a new file its owner, attributes, mode and times, in the order that keeps them."""
    with suppress(PermissionError):
        os.chown(target, stat.uid, stat.gid, follow_symlinks=False)
    for name, value in xattrs.items():
        os.setxattr(target, name, value, follow_symlinks=False)
    if not stat_module.S_ISLNK(stat.mode):
        os.chmod(target, stat_module.S_IMODE(stat.mode))
    os.utime(target, ns=(stat.atime_ns, stat.mtime_ns), follow_symlinks=False)
