"""A chain of trees as an OCI image layout: a directory, or a tar archive of it.

Each tree becomes a layer that holds what differs from the one below it. The same trees give the
same bytes, digests included: nothing of the clock goes in, unless `created` is given.

    oci-layout                    the version of the layout
    index.json                    leads to the manifest, with the name as its reference
    blobs/sha256/DIGEST           manifest, configuration, layers

What it is *not*: the layers themselves (layertar.py), or the reading of images (ociimport.py).

Concurrency: blocking calls in the caller's thread.

Source: OCI image specification, image-layout.md, manifest.md, config.md.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from vfsd.snapshots.changes import Change, compare
from vfsd.snapshots.layertar import LayerTar, whole_tree
from vfsd.snapshots.tarformat import DIRECTORY, REGULAR, TarEntry
from vfsd.snapshots.tarstream import Compression, Compressor
from vfsd.snapshots.tarwrite import TarWriter
from vfsd.snapshots.view import TreeView

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REFERENCE = "org.opencontainers.image.ref.name"

ARCHITECTURES = {
    **{"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "i386": "386"},
    **{"armv7l": "arm", "armv6l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"},
    "riscv64": "riscv64",
}
"""What the kernel calls a machine, and what Go and so OCI call it."""

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Layer:
    """What was written of one tree; digests of the stored and of the plain archive."""

    digest: str
    size_bytes: int
    diff_id: str
    command: str


@dataclass(slots=True)
class Layout:
    """Writes an image below the directory `root`, which must exist and be empty."""

    root: Path
    compression: Compression = Compression.GZIP
    told: Callable[[int, int], None] | None = None
    layers: list[Layer] = field(default_factory=list)
    left_out: list[bytes] = field(default_factory=list)

    def add_trees(self, trees: Sequence[TreeView], commands: Sequence[str]) -> None:
        """Write a layer for each tree, lowest first. UserError names what no layer can hold."""
        below: TreeView | None = None
        for tree, command in zip(trees, commands, strict=True):
            changes = whole_tree(tree) if below is None else compare(below, tree)
            self._add(tree, changes, command)
            below = tree

    def _add(self, tree: TreeView, changes: Sequence[Change], command: str) -> None:
        temporary = self._blobs() / f".{secrets.token_hex(8)}"
        with open(temporary, "xb") as file:
            compressor = Compressor(file.write, self.compression)
            layer = LayerTar(tree, compressor.write, self.told)
            layer.run(changes)
            compressor.finish()
        self.left_out += layer.left_out
        os.rename(temporary, self._blob(compressor.stored_digest))
        self.layers.append(
            Layer(compressor.stored_digest, compressor.size_bytes, compressor.plain_digest, command)
        )

    def finish(self, name: str, created: str | None = None) -> None:
        """Write configuration, manifest and index."""
        time = {} if created is None else {"created": created}
        suffix = f"+{self.compression.value}" if self.compression.value else ""
        config = self._put_json(
            {
                **time,
                **machine(),
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in self.layers]},
                "history": [{**time, "created_by": each.command} for each in self.layers],
            }
        )
        manifest = self._put_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, **config},
                "layers": [
                    {"mediaType": LAYER + suffix, "digest": each.digest, "size": each.size_bytes}
                    for each in self.layers
                ],
            }
        )
        entry = {"mediaType": MANIFEST, **manifest, "annotations": {REFERENCE: name}}
        index = {"schemaVersion": 2, "manifests": [entry]}
        (self.root / "index.json").write_bytes(_json(index))
        (self.root / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))

    def _put_json(self, value: Mapping[str, object]) -> dict[str, object]:
        data = _json(value)
        compressor = Compressor(lambda _: None, Compression.NONE)
        compressor.write(data)
        self._blob(compressor.stored_digest).write_bytes(data)
        return {"digest": compressor.stored_digest, "size": len(data)}

    def _blobs(self) -> Path:
        folder = self.root / "blobs" / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _blob(self, digest: str) -> Path:
        return self._blobs() / digest.removeprefix("sha256:")


def write_layout_tar(root: Path, write: Callable[[bytes], object]) -> None:
    """Write the layout as one archive, in an order of names."""
    tar = TarWriter(write)
    for path in sorted(root.rglob("*")):
        name = os.fsencode(path.relative_to(root))
        if path.is_dir():
            tar.add(TarEntry(name + b"/", DIRECTORY, 0o755))
            continue
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            tar.add(TarEntry(name, REGULAR, 0o644, size=size), _pieces(file))
    tar.finish()


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_CHUNK_BYTES):
        yield data


def machine() -> dict[str, str]:
    """Return this machine's platform as OCI names it."""
    name = platform.machine()
    return {"architecture": ARCHITECTURES.get(name, name), "os": "linux"}


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()
