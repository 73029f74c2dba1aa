"""Another name for a stored snapshot.

Killed at any instant, it has the old name or the new one; that its children tell of the new one
comes after.

What it is *not*: live snapshots' names (live.py).

Concurrency: blocking calls, beside others that use the store.
"""

from __future__ import annotations

import os
from contextlib import suppress

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots import records
from vfsd.snapshots.kept import Snapshot
from vfsd.snapshots.locking import hold_if_free, locked
from vfsd.snapshots.names import check_name
from vfsd.snapshots.refusals import NameTaken, NotFound
from vfsd.snapshots.store import Store, snapshots
from vfsd.snapshots.syscalls import rename_new


def rename(store: Store, old: str, new: str) -> None:
    """Call the snapshot `old` by the name `new`. NotFound, NameTaken; UserError while in use."""
    place = store.place
    source, target = (place.snapshot(check_name(name)) for name in (old, new))
    if not os.path.lexists(source):
        raise NotFound(old, store.names())
    with locked(place.lock, exclusive=True):
        lease = hold_if_free(place.lease(old))
        if lease is None:
            # A fork tells by the name what it stands on.
            raise UserError(
                f"the snapshot {old!r} is in use by a fork that is running; end that first",
                ExitCode.REFUSED,
            )
        try:
            try:
                rename_new(source, target)
            except FileExistsError:
                raise NameTaken(new) from None
            except FileNotFoundError:
                raise NotFound(old, store.names()) from None
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(place.lease(old))
            records.sync_directory(place.snapshots)
        finally:
            os.close(lease)
        for child in snapshots(store):
            if isinstance(child, Snapshot) and child.parent == old:
                store.replace_record(child, child._replace(parent=new))
