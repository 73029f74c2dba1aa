"""Several layers as one: a new layer that shows what they show together.

Files are hard links to those of the old layers, so nothing is copied on one file system, and
what one layer shadows of another takes no room once the old ones go. Directories are made anew,
with the attributes of the top one. Whiteouts and opaque marks stay where something below the
merged layers could show through, and are dropped otherwise.

What it is *not*: which layers are merged, or who uses them (collection.py, folding.py).

Concurrency: blocking calls on sealed layers, which it does not change but for the count of links.

Source: link(2); ext4 allows 65,000 links of one file, more are copied.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Sequence
from contextlib import ExitStack

from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.layers import Layers, Level, Merged
from vfsd.snapshots.marks import OPAQUE, OPAQUE_YES, without_marks
from vfsd.snapshots.syscalls import open_beneath
from vfsd.snapshots.writing import reached, set_attributes, write_file


def merge(trees: Sequence[str], target: str, *, whole: bool) -> None:
    """Make the directory `target` from layers' trees, top first; `whole` if nothing is below them.

    EACCES names a directory that this user cannot read. An error leaves an unfinished target.
    """
    with ExitStack() as held:
        layers = [
            held.enter_context(HostTree(tree, marks=True, kind="layer", sealed=True))
            for tree in trees
        ]
        os.mkdir(target, 0o700)
        top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        held.callback(os.close, top)
        _Merge(layers, top).run(whole=whole)


class _Merge:
    def __init__(self, trees: Sequence[HostTree], top: int) -> None:
        self._trees = trees
        self._layers = Layers(trees)
        self._top = top
        self._finished: list[tuple[bytes, Merged]] = []

    def run(self, *, whole: bool) -> None:
        """Make everything, then set the directories' attributes, the deepest first."""
        root = self._layers.root()
        self._finished.append((b"", root))
        todo: list[tuple[bytes, tuple[Level, ...], bool]] = [(b"", root.levels, whole)]
        while todo:
            path, levels, covered = todo.pop()
            target = open_beneath(self._top, path, os.O_PATH | os.O_DIRECTORY)
            try:
                for name, merged in self._layers.scan(path, levels).items():
                    inner = path + b"/" + name if path else name
                    if merged.item is None:
                        if not covered:
                            os.mknod(name, stat_module.S_IFCHR, 0, dir_fd=target)
                    elif stat_module.S_ISDIR(merged.item.stat.mode):
                        self._directory(target, name, opaque=merged.closed and not covered)
                        self._finished.append((inner, merged))
                        todo.append((inner, merged.levels, covered or merged.closed))
                    else:
                        self._file(target, name, inner, merged)
            finally:
                os.close(target)
        for path, merged in reversed(self._finished):
            self._set(path, merged)

    def _directory(self, target: int, name: bytes, *, opaque: bool) -> None:
        os.mkdir(name, 0o700, dir_fd=target)
        if opaque:
            os.setxattr(reached(target, name), OPAQUE, OPAQUE_YES, follow_symlinks=False)

    def _file(self, target: int, name: bytes, path: bytes, merged: Merged) -> None:
        tree = self._trees[merged.levels[0].layer]
        source = tree.directory(path.rpartition(b"/")[0])
        try:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            # EPERM: fs.protected_hardlinks, of a file that belongs to somebody else. EXDEV: a
            # tree that is no layer of the store.
            unlinked = (errno.EMLINK, errno.EPERM, errno.EXDEV)
            if error.errno not in unlinked or merged.item is None:
                raise
            write_file(tree, path, merged.item, target, name)
        finally:
            os.close(source)

    def _set(self, path: bytes, merged: Merged) -> None:
        assert merged.item is not None
        tree = self._trees[merged.levels[0].layer]
        fd = open_beneath(self._top, path, os.O_PATH | os.O_DIRECTORY)
        try:
            attributes = without_marks(tree.xattrs(path))
            set_attributes(reached(fd, b"."), merged.item.stat, attributes)
        finally:
            os.close(fd)
