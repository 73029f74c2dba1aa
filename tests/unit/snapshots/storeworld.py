"""A store in a directory of its own, and layers to put into it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vfsd.archive.outfile import OutFile
from vfsd.archive.writer import ArchiveWriter
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.kept import Snapshot
from vfsd.snapshots.packing import pack_view
from vfsd.snapshots.store import Store

WHITEOUT = ("whiteout",)
OPAQUE = ("opaque",)
Files = dict[str, str | tuple[str, ...]]


def fill(root: Path, files: Files) -> Path:
    """Make a layer's directory; text is a file's content."""
    root.mkdir(parents=True, exist_ok=True)
    for name, what in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, str):
            path.write_text(what)
        elif what == WHITEOUT:
            os.mknod(path, stat.S_IFCHR, 0)
        elif what == OPAQUE:
            path.mkdir(exist_ok=True)
            os.setxattr(path, "user.overlay.opaque", b"y")
        elif what[0] == "symlink":
            path.symlink_to(what[1])
        elif what[0] == "link":
            os.link(root / what[1], path)
        else:
            raise AssertionError(what)
    return root


class World:
    """A store, a base, and a short way to save."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root = place / "store"
        self.store = Store(str(self.root))
        self.base = fill(place / "base", {"kept": "base", "changed": "base", "d/f": "base"})
        self._made = 0

    def upper(self, files: Files) -> str:
        self._made += 1
        return str(fill(self.place / f"upper-{self._made}", files))

    def pack(self, files: Files) -> str:
        """Make an archive of a layer, as a daemon does of what it has in memory."""
        upper = self.upper(files)
        path = self.place / f"pack-{self._made}"
        with OutFile(str(path)) as out, HostTree(upper, marks=True) as view:
            with ArchiveWriter(out.fd) as writer:
                pack_view(view, writer)
                writer.finish()
            out.commit()
        return str(path)

    def save(
        self, name: str, files: Files, on: str | None = None, *, base: bool = True, **more
    ) -> Snapshot:
        """Save a layer over a snapshot, or over the base alone."""
        below = str(self.base) if base else None
        if on is None:
            return self.store.save_directory(name, self.upper(files), base=below, **more)
        with self.store.lease(on) as lease:
            return self.store.save_directory(
                name,
                self.upper(files),
                base=lease.base,
                chain=lease.snapshot.chain,
                parent=on,
                **more,
            )

    def shows(self, name: str) -> dict[str, str]:
        """Return the content of every file that a fork would show."""
        found = {}
        with self.store.lease(name) as lease, lease.view() as view:
            todo = [b""]
            while todo:
                path = todo.pop()
                for entry, item in view.scan(path).items():
                    inner = path + b"/" + entry if path else entry
                    if stat.S_ISDIR(item.stat.mode):
                        todo.append(inner)
                    elif stat.S_ISREG(item.stat.mode):
                        with view.open(inner) as file:
                            found[os.fsdecode(inner)] = file.read().decode()
        return found
