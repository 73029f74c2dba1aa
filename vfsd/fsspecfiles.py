"""fsspec's file system ``vfsd://``: what pandas, dask and others read and write a tree through.

    pandas.read_csv("vfsd:///home/me/tree/data.csv")      # the mount is /home/me/tree

A path is that of the file as programs see it through the mount; each daemon is found by it, and
asked over the control socket, not through the mount. Needs fsspec: ``pip install vfsd[fsspec]``.

What it is *not*: a cache. Each call reaches the daemon; there is no listing that could be stale.

Concurrency: threads may share one; each daemon has one connection, and answers one request of it
at a time. A forked process makes connections of its own.

Source: fsspec's AbstractFileSystem.
"""

from __future__ import annotations

import io
import os
import stat as stat_module
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from fsspec import AbstractFileSystem

from vfsd import runtime
from vfsd.client import Client
from vfsd.control.replies import FileInfo
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

T = TypeVar("T")

_Clients = dict[bytes, tuple[tuple[int, int, int], Client]]
"""By mountpoint: which process is connected to which daemon, and the connection."""

CHUNK_BYTES = 1 << 20
"""How much one request reads or writes of a file that is open."""


class VfsdFileSystem(AbstractFileSystem):
    """See the module. Errors are `OSError`; FileNotFoundError where no daemon serves a path."""

    protocol = "vfsd"
    root_marker = "/"
    cachable = True

    def __init__(self, **storage_options: Any) -> None:  # noqa: ANN401  fsspec's signature
        super().__init__(use_listings_cache=False, **storage_options)
        self._clients: _Clients = {}
        weakref.finalize(self, _close, self._clients)
        self._turn = threading.Lock()

    # -- looking --------------------------------------------------------------------------

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
        """List a directory, or the one file that `path` is. FileNotFoundError."""
        path = self._strip_protocol(path)
        own = self.info(path)
        if own["type"] != "directory":
            return [own] if detail else [own["name"]]
        found = self._ask(path, lambda tree, place: tree.scandir(place))
        names = [os.path.join(path, os.fsdecode(name)) for name, _ in found]
        if not detail:
            return names
        return [self._told(name, info) for name, (_, info) in zip(names, found, strict=True)]

    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Return size, type and times; of a symlink those of what it leads to, if it does."""
        path = self._strip_protocol(path)
        return self._told(path, self._ask(path, lambda tree, at: tree.stat(at, follow=False)))

    def _told(self, path: str, info: FileInfo) -> dict[str, Any]:
        is_link = stat_module.S_ISLNK(info.stat.mode)
        if is_link:
            with suppress(OSError):  # it leads nowhere: told as what it is
                info = self._ask(path, lambda tree, place: tree.stat(place))
        mode = info.stat.mode
        kinds = {stat_module.S_IFDIR: "directory", stat_module.S_IFREG: "file"}
        kinds[stat_module.S_IFLNK] = "link"
        return {
            "name": path,
            "size": info.stat.size,
            "type": kinds.get(stat_module.S_IFMT(mode), "other"),
            "islink": is_link,
            "mode": mode,
            "uid": info.stat.uid,
            "gid": info.stat.gid,
            "nlink": info.stat.nlink,
            "ino": info.node,
            "created": info.stat.ctime_ns / 1e9,
            "mtime": info.stat.mtime_ns / 1e9,
        }

    # -- data -----------------------------------------------------------------------------

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        **_: object,
    ) -> io.BufferedIOBase:
        if not autocommit:
            raise ValueError("vfsd:// has no transactions; pipe_file replaces a file atomically")
        raw = self._ask(path, lambda tree, place: tree.open(place, mode))
        size = block_size or CHUNK_BYTES
        if "+" in mode:
            return cast(io.BufferedIOBase, io.BufferedRandom(raw, size))
        if "r" in mode:
            return io.BufferedReader(raw, size)
        return io.BufferedWriter(raw, size)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: object
    ) -> bytes:
        """Return a file's data, or a range of it; negative ends count from the file's end."""
        if start is None and end is None:
            return self._ask(path, lambda tree, place: tree.read_bytes(place))
        with self._ask(path, lambda tree, place: tree.open(place, "rb")) as file:
            size = file.seek(0, os.SEEK_END)
            first, last, _step = slice(start, end).indices(size)
            pieces = []
            while first < last and (piece := file.pread(last - first, first)):
                pieces.append(piece)
                first += len(piece)
            return b"".join(pieces)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        """Make or replace a file, whole or not at all; with `mode` "create" FileExistsError."""
        if mode == "create":
            with self._open(path, "xb") as file:
                file.write(value)
            return
        self._ask(path, lambda tree, place: tree.write_bytes(place, bytes(value)))

    def cp_file(self, path1: str, path2: str, **_: object) -> None:
        """Copy a file, or make a directory as one is."""
        if self.isdir(path1):
            self.makedirs(path2, exist_ok=True)
            return
        with self._open(path1) as source, self._open(path2, "wb") as target:
            while piece := source.read(CHUNK_BYTES):
                target.write(piece)

    # -- names ----------------------------------------------------------------------------

    def mkdir(self, path: str, create_parents: bool = True, **_: object) -> None:
        """Make a directory. FileExistsError."""
        path = self._strip_protocol(path)
        if create_parents and self._parent(path) != path and not self.exists(self._parent(path)):
            self.makedirs(self._parent(path), exist_ok=True)
        self._ask(path, lambda tree, place: tree.mkdir(place))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a directory and those above it. FileExistsError unless `exist_ok`."""
        if not exist_ok:
            self.mkdir(path, create_parents=True)
            return
        self._ask(path, lambda tree, place: tree.mkdir(place, parents=True))

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._ask(path, lambda tree, place: tree.rmdir(place))

    def rm_file(self, path: str) -> None:
        """Remove what is not a directory."""
        self._ask(path, lambda tree, place: tree.unlink(place))

    def _rm(self, path: str) -> None:
        self.rm_file(path)

    def rm(
        self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None
    ) -> None:
        """Remove files; with `recursive` directories with all below them."""
        if maxdepth is not None:
            super().rm(path, recursive=recursive, maxdepth=maxdepth)
            return
        for name in self.expand_path(path):
            if recursive:
                self._ask(name, lambda tree, place: tree.remove_tree(place))
            else:
                self.rm_file(name)

    def mv(
        self,
        path1: str,
        path2: str,
        recursive: bool = False,
        maxdepth: int | None = None,
        **_: object,
    ) -> None:
        """Rename a file or a directory, in one step. OSError EXDEV between two providers."""
        target = self._place(self._strip_protocol(path2))
        self._ask(path1, lambda tree, place: tree.rename(place, target))

    # -- daemons --------------------------------------------------------------------------

    def _place(self, path: str) -> bytes:
        return b"/" + self._found(path).prefix

    def _found(self, path: str) -> runtime.Served:
        try:
            return runtime.find(path)
        except UserError as error:
            if error.exit_code == ExitCode.DENIED:
                raise PermissionError(error.message) from error
            raise FileNotFoundError(error.message) from error

    def _ask(self, path: str, do: Callable[[Client, bytes], T]) -> T:
        """Do something with the daemon that serves `path` and the place there."""
        served = self._found(self._strip_protocol(path))
        return do(self._client(served), b"/" + served.prefix)

    def _client(self, served: runtime.Served) -> Client:
        """Return the connection to this daemon, which is not one that served the place before."""
        socket = os.stat(served.socket)
        daemon = os.getpid(), socket.st_ino, socket.st_ctime_ns
        with self._turn:
            known = self._clients.get(served.mountpoint)
            if known is not None and known[0] == daemon:
                return known[1]
            if known is not None:
                known[1].close()
            tree = Client(served)
            self._clients[served.mountpoint] = daemon, tree
            return tree


def _close(clients: _Clients) -> None:
    for _, tree in clients.values():
        tree.close()
