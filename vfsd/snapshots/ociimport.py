"""An archive, or an image of whatever form, as one new layer of the store.

All layers of an image are unpacked over each other, so what is kept is the tree that a container
would see. The digests that an image tells are checked while it is unpacked; nothing is kept of
one that fails.

What it is *not*: the unpacking of files (unpack.py), or finding an image's layers (ociimage.py).

Concurrency: blocking calls in the caller's thread.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import BinaryIO

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.kept import Snapshot
from vfsd.snapshots.ociblobs import Blobs, DirectoryBlobs, TarBlobs
from vfsd.snapshots.ociimage import LayerFile, is_image, layers_of
from vfsd.snapshots.reading import read_full
from vfsd.snapshots.refusals import refused_when_full
from vfsd.snapshots.store import Store
from vfsd.snapshots.tarformat import TarError
from vfsd.snapshots.tarread import TarReader
from vfsd.snapshots.tarstream import (
    CHUNK_BYTES,
    Expanded,
    Hashing,
    Readable,
    StreamError,
    stream_damage,
)
from vfsd.snapshots.unpack import Unpacker

LIMIT_BYTES = 64 << 30
"""What an archive may expand to, unless more is asked for."""

_LOOK_BYTES = 1 << 16
_LOOK_FILES = 4
_IMAGE_FILES = ("blobs", "oci-layout", "index.json", "manifest.json", "repositories")


class Import:
    """One import into a store; what could not be kept is in `left_out` and `incomplete`."""

    def __init__(
        self,
        store: Store,
        *,
        limit_bytes: int = LIMIT_BYTES,
        reference: str | None = None,
        told: Callable[[int, int], None] | None = None,
    ) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._reference = reference
        self._told = told
        self.left_out: list[tuple[bytes, str]] = []
        self.incomplete: list[tuple[bytes, str]] = []

    def run(
        self,
        source: str,
        name: str,
        *,
        base: str | None = None,
        replace: bool = False,
    ) -> Snapshot:
        """Import the file or directory `source` (``-``: standard input) as the snapshot `name`.

        With a `base` it is what differs from that directory, else a whole tree. UserError.
        """
        if not replace:
            self._store.check_free(name)
        with ExitStack() as stack:
            staging = stack.enter_context(self._store.stage())
            stack.enter_context(refused_when_full(self._store.place.root, name))
            tree = staging.part("import")
            os.mkdir(tree, 0o755)
            below = None if base is None else stack.enter_context(HostTree(base))
            unpacker = stack.enter_context(closing(Unpacker(tree, below, self._told)))
            with _explained(source):
                self._unpack(stack, source, unpacker, staging.path)
                unpacker.finish()
            self.left_out, self.incomplete = unpacker.left_out, unpacker.incomplete
            command = ("vfsd", "snapshot", "import", source, name)
            return self._store.save_directory(
                name, tree, base=base, command=command, replace=replace
            )

    def _unpack(self, stack: ExitStack, source: str, unpacker: Unpacker, scratch: str) -> None:
        if source != "-" and os.path.isdir(source):
            blobs = stack.enter_context(closing(DirectoryBlobs(source)))
            if not is_image(blobs):
                raise UserError(
                    f"{source} is a directory and no OCI image layout;"
                    " import an archive of it, or run on it",
                    ExitCode.USAGE,
                )
            self._image(blobs, unpacker)
            return
        file = stack.enter_context(_opened(source))
        expanded = Expanded(file, self._limit_bytes)
        head = read_full(expanded.read, _LOOK_BYTES)
        if not head:
            raise TarError("it is empty")
        stream = _Rejoined(head, expanded)
        if not _looks_like_image(head):
            unpacker.layer(TarReader(stream.read))
            return
        if expanded.is_compressed or not file.seekable():
            file = stack.enter_context(_spooled(stream, scratch))
        image = TarBlobs(file, source)
        if is_image(image):
            self._image(image, unpacker)
        else:
            file.seek(0)
            unpacker.layer(TarReader(file.read))

    def _image(self, blobs: Blobs, unpacker: Unpacker) -> None:
        left = self._limit_bytes
        for layer in layers_of(blobs, self._reference):
            left -= self._layer(blobs, layer, unpacker, left)

    def _layer(self, blobs: Blobs, layer: LayerFile, unpacker: Unpacker, limit_bytes: int) -> int:
        """Unpack one layer and check both its digests; return how large it was."""
        with blobs.open(layer.name) as file:
            stored = Hashing(file, layer.digest.partition(":")[0] or "sha256")
            plain = Hashing(Expanded(stored, limit_bytes), layer.diff_id.partition(":")[0])
            unpacker.layer(TarReader(plain.read))
            _check(layer.name, plain.finish(), layer.diff_id)
            if layer.digest:
                _check(layer.name, stored.finish(), layer.digest)
            return plain.size_bytes


def _check(name: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise UserError(
            f"the layer {name} is damaged: its digest is {found}, not {wanted}", ExitCode.DAMAGED
        )


class _Rejoined:
    """A stream with what was read of it already."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._rest.read(size)


def _looks_like_image(head: bytes) -> bool:
    """Say whether one of an archive's first files is one that images have."""
    try:
        for _, entry in zip(range(_LOOK_FILES), TarReader(io.BytesIO(head).read), strict=False):
            name = os.fsdecode(entry.name).removeprefix("./")
            first, slash, _ = name.partition("/")
            if first in _IMAGE_FILES or (slash and _is_id(first)):
                return True
            if _is_id(first.removesuffix(".json")):
                return True
    except TarError:
        # The head ends somewhere; what is wrong with the archive is told when it is read.
        pass
    return False


def _is_id(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Name the file in what the readers of streams and archives complain of."""
    try:
        yield
    except (StreamError, TarError) as error:
        raise stream_damage("standard input" if source == "-" else source, error) from error


def _opened(source: str) -> BinaryIO:
    if source == "-":
        return open(0, "rb", closefd=False)
    return open(source, "rb")


def _spooled(stream: Readable, scratch: str) -> BinaryIO:
    """Keep what cannot be sought in, in a file that nobody else sees and that goes by itself."""
    file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the caller closes it
    while data := stream.read(CHUNK_BYTES):
        file.write(data)
    file.seek(0)
    return file
