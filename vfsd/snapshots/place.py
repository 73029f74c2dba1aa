"""Where everything lies in a store.

    format             record: the version of this layout
    lock               empty; flock: shared while names change, exclusive while layers go
    snapshots/NAME     record: base, chain, command, ...
    leases/NAME        empty; flock: shared by every running fork of NAME
    layers/ID/         one sealed layer:
      record           record: its kind, when it was made
      lease            empty; flock: shared by every running fork of the layer, and what settles it
      tree/            the layer itself, if its kind is `dir`; unpacked from `pack` otherwise
      pack             the layer as an archive, if its kind is `packed`
      fingerprints     record: what the base had at the paths that the layer changes
      manifest         the attributes and digest of each file in `tree`
    staging/ID/        what is being made or being removed; `lease` is held meanwhile

What it is *not*: what the files hold; nothing here touches the disk but `prepare`.

Concurrency: immutable.
"""

from __future__ import annotations

import os

from vfsd import xdg
from vfsd.named import NamedTuple

ID_DIGITS = 16


def default_root() -> str:
    """Return where this user's store lies; it may not exist yet."""
    return os.path.join(xdg.need(xdg.STATE, "snapshots"), "vfsd", "store")


def new_id() -> str:
    """Return a name for a layer or a staging directory: short, since mounts list many."""
    return os.urandom(ID_DIGITS // 2).hex()


def is_id(text: str) -> bool:
    """Say whether `text` can be the name of a layer."""
    return len(text) == ID_DIGITS and not set(text) - set("0123456789abcdef")


class Place(NamedTuple):
    """The paths of one store."""

    root: str

    @property
    def format(self) -> str:
        return os.path.join(self.root, "format")

    @property
    def lock(self) -> str:
        return os.path.join(self.root, "lock")

    @property
    def snapshots(self) -> str:
        return os.path.join(self.root, "snapshots")

    @property
    def leases(self) -> str:
        return os.path.join(self.root, "leases")

    @property
    def layers(self) -> str:
        return os.path.join(self.root, "layers")

    @property
    def staging(self) -> str:
        return os.path.join(self.root, "staging")

    def snapshot(self, name: str) -> str:
        """Return the record of a snapshot."""
        return os.path.join(self.snapshots, name)

    def lease(self, name: str) -> str:
        """Return the file that forks of a snapshot hold a lock on."""
        return os.path.join(self.leases, name)

    def layer(self, layer: str, part: str = "") -> str:
        """Return a layer's directory, or a part of it."""
        return os.path.join(self.layers, layer, part) if part else os.path.join(self.layers, layer)

    def staged(self, name: str, part: str = "") -> str:
        """Return a staging directory, or a part of it."""
        return os.path.join(self.staging, name, part) if part else os.path.join(self.staging, name)

    @property
    def folders(self) -> tuple[str, ...]:
        """The directories that every store has."""
        return (self.snapshots, self.leases, self.layers, self.staging)
