"""What the control server needs of the daemon, and nothing more.

The daemon (vfsd/daemon.py) is one; tests make a smaller one. Here so that vfsd/control never
imports the daemon.

Concurrency: called from the event loop only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from vfsd.attributes import Caller
from vfsd.contract import Provider
from vfsd.handles import HandleTable
from vfsd.tree import Attachment, Tree

if TYPE_CHECKING:
    from vfsd.snapshots.lineage import Lineage
    from vfsd.snapshots.live import LiveSnapshots
    from vfsd.snapshots.storing import Storing


class Host(Protocol):
    """A daemon, as seen from its control socket."""

    tree: Tree
    handles: HandleTable
    mountpoint: bytes
    lineage: Lineage
    snapshots: LiveSnapshots
    storing: Storing

    async def attach(
        self,
        prefix: bytes,
        source: str,
        options: Mapping[str, str],
        caller: Caller,
        *,
        read_only: bool,
    ) -> Attachment:
        """Make the provider that `source` names (a name, ``name:source``, a host path), attach it.

        UserError for an unknown one or a wrong option; OSError as `Tree.attach`.
        """

    async def attach_provider(
        self, prefix: bytes, provider: Provider, caller: Caller, *, read_only: bool
    ) -> Attachment:
        """Attach a provider that exists; it is the host's from then on, also on an error."""

    async def open_snapshot(self, name: str, *, writable: bool) -> Provider:
        """Open a live snapshot, or a stored one; with `writable` a fork of it. UserError."""

    async def detach(self, prefix: bytes, *, lazy: bool) -> None:
        """Detach what is at `prefix`; OSError as `Tree.detach`."""

    def status(self) -> dict[str, object]:
        """Return what is served and the counters, as values that JSON has."""

    def measure(self) -> AbstractContextManager[Callable[[], dict[str, object]]]:
        """Measure the mount's requests while the block runs; gives what takes a sample of them."""

    def request_stop(self) -> None:
        """Unmount and end, soon; returns at once."""
