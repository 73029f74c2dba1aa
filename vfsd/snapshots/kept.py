"""What the store's records say: a snapshot, and a layer.

A snapshot's record is a map of

    id           bytes        its own, so that a name given anew is told from the old one
    chain        [str]        layers, top first
    base         bytes|nil    host directory below the chain, nil if the chain is a whole tree
    created_ns   int
    command      [bytes]      what made it, may be empty
    parent       str|nil      name of the snapshot that it was forked from
    settled      bool         everything of it is on disk, and its layers have manifests
    boot         str          the boot of the machine in which it was saved

and a layer's of

    kind         str          ``dir`` or ``packed``
    created_ns   int
    whole        bool         it is a whole tree: nothing is below it in any chain
    size_bytes   int|nil      of `pack`
    digest       bytes|nil    of `pack`

Unknown keys are refused: a version that adds one has another number.

Concurrency: immutable values.
"""

from __future__ import annotations

import os

from vfsd.digest import DIGEST_SIZE
from vfsd.named import NamedTuple
from vfsd.snapshots.place import is_id
from vfsd.snapshots.refusals import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DIR = "dir"
PACKED = "packed"

LAYERS_MAX = 64
"""No chain is longer: the kernel's overlayfs takes 500, and the text of a mount's options 4 KiB."""


class Snapshot(NamedTuple):
    """A named, immutable chain of sealed layers over a base; see the module."""

    name: str
    id: bytes
    chain: tuple[str, ...]
    base: bytes | None
    created_ns: int
    command: tuple[bytes, ...]
    parent: str | None
    settled: bool
    boot: str

    def to_record(self) -> dict[str, Any]:
        """Return what its record holds; the name is the record's own."""
        fields = self._asdict()
        del fields["name"]
        return fields


class Layer(NamedTuple):
    """One sealed delta; see the module."""

    id: str
    kind: str
    created_ns: int
    whole: bool = False
    size_bytes: int | None = None
    digest: bytes | None = None

    def to_record(self) -> dict[str, Any]:
        """Return what its record holds; the id is its directory's name."""
        fields = self._asdict()
        del fields["id"]
        return fields


def snapshot_of(name: str, record: Mapping[str, Any], path: str) -> Snapshot:
    """Read a snapshot's record. Damaged."""
    checked = _Fields(record, path)
    chain = checked.take("chain", list)
    command = checked.take("command", list)
    found = Snapshot(
        name=name,
        id=checked.take("id", bytes),
        chain=tuple(chain),
        base=checked.take("base", bytes, type(None)),
        created_ns=checked.take("created_ns", int),
        command=tuple(command),
        parent=checked.take("parent", str, type(None)),
        settled=checked.take("settled", bool),
        boot=checked.take("boot", str),
    )
    checked.end()
    if not chain or not all(isinstance(layer, str) and is_id(layer) for layer in chain):
        raise Damaged(f"{path} is damaged: its chain is none")
    if not all(isinstance(word, bytes) for word in command):
        raise Damaged(f"{path} is damaged: its command is none")
    if found.base is not None and not os.path.isabs(found.base):
        raise Damaged(f"{path} is damaged: its base is no absolute path")
    return found


def layer_of(layer: str, record: Mapping[str, Any], path: str) -> Layer:
    """Read a layer's record. Damaged."""
    checked = _Fields(record, path)
    found = Layer(
        id=layer,
        kind=checked.take("kind", str),
        created_ns=checked.take("created_ns", int),
        whole=checked.take("whole", bool),
        size_bytes=checked.take("size_bytes", int, type(None)),
        digest=checked.take("digest", bytes, type(None)),
    )
    checked.end()
    if found.kind == PACKED:
        if found.size_bytes is None or found.digest is None or len(found.digest) != DIGEST_SIZE:
            raise Damaged(f"{path} is damaged: it does not describe its archive")
    elif found.kind != DIR:
        raise Damaged(f"{path} has the unknown kind {found.kind!r}")
    return found


def boot() -> str:
    """Return what names this boot of the machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


class _Fields:
    def __init__(self, record: Mapping[str, Any], path: str) -> None:
        self._left = dict(record)
        self._path = path

    def take(self, key: str, *kinds: type) -> Any:  # noqa: ANN401 - checked against `kinds`
        """Return a field of one of these types."""
        value = self._left.pop(key, self)
        if type(value) not in kinds:
            raise Damaged(f"{self._path} is damaged: {key!r} is missing or of a wrong type")
        return value

    def end(self) -> None:
        """Refuse what was not taken."""
        if self._left:
            raise Damaged(f"{self._path} is damaged: it has unknown fields")
