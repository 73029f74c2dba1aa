"""A place in the store for what is being made: nobody else sees or collects it until it is done.

It lies on the store's file system, so that what is made there becomes part of the store by a
rename. A lock is held on it; when its process dies, `vfsd gc` finds it without one and removes it.

What it is *not*: part of the store. Nothing refers to it.

Concurrency: one thread at a time per staging directory; any number of them at once.
"""

from __future__ import annotations

import os

from vfsd.snapshots.locking import hold, locked
from vfsd.snapshots.place import Place, new_id
from vfsd.snapshots.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Staging:
    """A directory of one's own; `close` removes it with what is still in it."""

    def __init__(self, place: Place) -> None:
        """Make the directory. ENOSPC."""
        self._place = place
        self.id = new_id()
        self.path = place.staged(self.id)
        self._lease = -1
        # The lock is there before anybody who collects could look.
        with locked(place.lock, exclusive=False):
            os.mkdir(self.path, 0o700)
            try:
                self._lease = hold(self.part("lease"), exclusive=True)
            except BaseException:
                remove_tree(self.path)
                raise

    def part(self, name: str) -> str:
        """Return the path of something in it."""
        return os.path.join(self.path, name)

    def close(self) -> None:
        """Remove it, wherever it stands, and let go of the lock. May be called twice."""
        if self._lease < 0:
            return
        try:
            self._leave_layers()
            remove_tree(self.path)
        finally:
            self.release()

    def become_layer(self) -> str:
        """Move it among the layers, still locked, and return the layer's id.

        What follows is to be `release`; until then a `close` would remove the layer.
        """
        target = self._place.layer(self.id)
        os.rename(self.path, target)
        self.path = target
        return self.id

    def _leave_layers(self) -> None:
        """Move it back if it was a layer: those are there wholly, or not at all."""
        staged = self._place.staged(self.id)
        if self.path != staged:
            with locked(self._place.lock, exclusive=False):
                os.rename(self.path, staged)
            self.path = staged

    def release(self) -> None:
        """Let go of the lock and keep what there is."""
        if self._lease >= 0:
            lease, self._lease = self._lease, -1
            os.close(lease)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
