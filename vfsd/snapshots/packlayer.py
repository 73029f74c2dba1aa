"""A packed layer of the store as a `TreeView`: damage is told as the store tells it.

What it is *not*: the reading (packed.py). Concurrency: blocking calls, one thread at a time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, Self

from vfsd.archive.damage import Changed, Damage
from vfsd.errors import UserError
from vfsd.snapshots.packed import PackedView
from vfsd.snapshots.refusals import Damaged
from vfsd.snapshots.view import Item, KnowsHoles


class PackLayer:
    """See the module. `close` closes the archive; also a context manager."""

    def __init__(self, layer: str, path: str) -> None:
        """Open the archive at `path` of the layer with this id. Damaged."""
        self._path = path
        with self._checked():
            self._view = PackedView.at(path, layer)

    def close(self) -> None:
        """Close the archive; once."""
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def item(self, path: bytes) -> Item:
        """As `TreeView.item`; Damaged."""
        with self._checked():
            return self._view.item(path)

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """As `TreeView.scan`; Damaged."""
        with self._checked():
            return self._view.scan(path)

    def readlink(self, path: bytes) -> bytes:
        """As `TreeView.readlink`; Damaged."""
        with self._checked():
            return self._view.readlink(path)

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """As `TreeView.xattrs`, the layer's marks included; Damaged."""
        with self._checked():
            return self._view.xattrs(path)

    def open(self, path: bytes) -> BinaryIO:
        """As `TreeView.open`; Damaged, also when the file is read."""
        with self._checked():
            return _PackFile(self, self._view.open(path))

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except (Damage, Changed) as error:
            raise Damaged(f"{self._path} is damaged: {error}") from error
        except UserError as error:
            raise Damaged(error.message) from error


class _PackFile(io.BufferedIOBase, BinaryIO):
    def __init__(self, layer: PackLayer, inner: BinaryIO) -> None:
        self._layer = layer
        self._inner = inner

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._inner.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._inner.seek(offset, whence)

    def next_data(self, offset: int) -> int | None:
        """As `KnowsHoles.next_data`; Damaged."""
        with self._layer._checked():
            return self._inner.next_data(offset) if isinstance(self._inner, KnowsHoles) else offset

    def read(self, size: int | None = -1) -> bytes:
        with self._layer._checked():
            return self._inner.read(-1 if size is None else size)
