"""What `vfsd run` does with what a command wrote: keep it as a snapshot, or write it back.

Imported only where one of the options for it is given: the store takes longer to import than a
sandbox takes to start.

What it is *not*: the store (vfsd/snapshots/store.py), or the run (vfsd/cli/run.py).

Concurrency: blocking calls, before and after the run. Leases and the staging directory are held
by this process: after SIGKILL they are free, and what was staged is removed by `vfsd gc`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from vfsd.cli.runoptions import Given
from vfsd.cli.runpolicy import base_of
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.bases import WORK, Base, check_shown, directory_base
from vfsd.snapshots.folding import LAYERS_MAX
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.store import Store


class Keeping:
    """See the module. `place` is the directory to make the layer in."""

    def __init__(self, given: Given) -> None:
        """Refuse what cannot be kept, before anything has run; hold what is forked."""
        self._given = given
        self._stack = ExitStack()
        self._store = Store()
        self._name = given.last("--save")
        if given.has("--write"):
            raise _wrong("--write leaves nothing to keep: the base itself is changed")
        if given.has("--replace") and self._name is None:
            raise _wrong("--replace is for --save NAME")
        if self._name is not None and not given.has("--replace"):
            self._store.check_free(self._name)
        try:
            self._lease = self._forked()
            self.base = base_of(given) if self._lease is None else self._base_of_fork(self._lease)
            self.place = self._staged()
        except BaseException:
            self.close()
            raise

    def finish(self, code: int) -> str:
        """Keep or write back what was asked for; return words for the line that ends a run."""
        told = ""
        if code == 0 and self._name is not None:
            self._save(self._name, replace=self._given.has("--replace"))
            told += f"; kept as {self._name}"
        elif code != 0 and self._given.has("--keep-on-failure"):
            name = f"failed-{os.urandom(4).hex()}"
            self._save(name, replace=False)
            told += f"; kept as {name}, since it failed with {code}"
        elif self._name is not None:
            told += f"; not kept, since it failed with {code}"
        return told

    def close(self) -> None:
        """Give back what was held, and remove what was not kept."""
        self._stack.close()

    def _save(self, name: str, *, replace: bool) -> None:
        if self.place is None:
            raise AssertionError("a layer is kept only where one was staged")
        lease = self._lease
        self._store.save_directory(
            name,
            os.path.join(self.place, "tree"),
            base=self.base.below,
            chain=() if lease is None else lease.snapshot.chain,
            command=self._given.command,
            parent=None if lease is None else lease.snapshot.name,
            replace=replace,
        )

    def _forked(self) -> Lease | None:
        name = self._given.last("--from")
        if name is None:
            return None
        if self._given.has("--base"):
            raise _wrong("--from NAME brings its own base; leave --base out")
        lease = self._stack.enter_context(self._store.lease(name))
        if len(lease.layers) >= LAYERS_MAX and self._name is not None:
            raise UserError(
                f"the snapshot {name!r} has {len(lease.layers)} layers, and no more fit on it;"
                " 'vfsd gc' folds them",
                ExitCode.REFUSED,
            )
        return lease

    def _base_of_fork(self, lease: Lease) -> Base:
        layers = tuple(lease.lowerdirs())
        told = f"snapshot:{lease.snapshot.name}"
        if lease.base is None:
            base = Base(told, layers, WORK, WORK)
        else:
            base = self._over_directory(lease, layers, told)
        at = self._given.last("--at")
        base = base if at is None else base.moved(at)
        check_shown(base.shown)
        return base

    def _over_directory(self, lease: Lease, layers: tuple[str, ...], told: str) -> Base:
        name = os.fsdecode(lease.base or b"")
        try:
            host = directory_base(name)
        except UserError as error:
            raise UserError(
                f"the snapshot {lease.snapshot.name!r} stands on a directory that is not"
                f" there: {error.message}",
                ExitCode.NOT_FOUND,
            ) from error
        here = os.path.realpath(".")
        directory = here if f"{here}/".startswith(f"{host.shown}/") else host.directory
        return host._replace(
            told=told, lowers=(*layers, *host.lowers), directory=directory, below=host.lowers[0]
        )

    def _staged(self) -> str | None:
        wanted = ("--save", "--apply", "--apply-always", "--keep-on-failure")
        if not any(map(self._given.has, wanted)):
            return None
        place = self._stack.enter_context(self._store.stage()).part("run")
        os.mkdir(place, 0o700)
        return place


def _wrong(what: str) -> UserError:
    return UserError(what, ExitCode.USAGE)
