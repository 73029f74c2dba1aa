"""What `vfsd run` does with what a command wrote: keep it as a snapshot, or write it back.

Imported only where one of the options for it is given: the store takes longer to import than a
sandbox takes to start.

What it is *not*: the store (vfsd/snapshots/store.py), or the run (vfsd/cli/run.py).

Concurrency: blocking calls, before and after the run. Leases and the staging directory are held
by this process: after SIGKILL they are free, and what was staged is removed by `vfsd gc`.
"""

from __future__ import annotations

import os
import stat
import time

from vfsd.blocks import ExitStack, suppress
from vfsd.cli.runoptions import Given
from vfsd.cli.runpolicy import base_of
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.bases import SNAPSHOT, WORK, Base, check_shown, directory_base
from vfsd.snapshots.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vfsd.sandbox.overlaid import Overlaid
    from vfsd.sandbox.runs import Run
    from vfsd.sandbox.served import Served
    from vfsd.snapshots.leasing import Lease


class Keeping:
    """See the module. `place` is the directory to make the layer in."""

    def __init__(self, given: Given, record: Run, stack: ExitStack) -> None:
        """Refuse what cannot be kept, before anything has run; hold what is forked."""
        self._given = given
        self._id = record.id
        self._start_ns = time.time_ns()
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
            if self._lease is None:
                self.base = base_of(given, record.directory, stack)
            else:
                self.base = self._base_of_fork(self._lease)
            if self._applies and self.base.host is None:
                raise _wrong(f"--apply writes to a directory, and {self.base.told} stands on none")
            self.place = self._staged()
        except BaseException:
            self.close()
            raise

    @property
    def _applies(self) -> bool:
        return self._given.has("--apply") or self._given.has("--apply-always")

    def finish(self, code: int, layer: Overlaid | Served) -> str:
        """Keep or write back what was asked for; return words for the line that ends a run.

        UserError (125) where it could not be: it says what is kept instead.
        """
        if code != 0 and self._given.has("--keep-on-failure"):
            name = f"failed-{self._id}"
            self._save(name, layer, replace=False)
            return f"; kept as {name}, since it failed with {code}"
        applies = self._applies and (code == 0 or self._given.has("--apply-always"))
        if code != 0 and not applies:
            return f"; nothing is kept, since it failed with {code}" if self._wanted else ""
        named = self._name if code == 0 else None
        if named is None and not applies:
            return ""
        self._save(named or f"apply-{self._id}", layer, replace=self._given.has("--replace"))
        told = f"; kept as {named}" if named else ""
        return told + (self._apply(named) if applies else "")

    def prepare(self) -> None:
        """Import what `finish` may need, which takes longer than a sandbox takes to start."""
        if self.place is not None:
            import vfsd.snapshots.background
            import vfsd.snapshots.sealing  # noqa: F401

    def close(self) -> None:
        """Give back what was held, and remove what was not kept."""
        self._stack.close()

    @property
    def _wanted(self) -> bool:
        return self._name is not None or self._applies

    def _save(self, name: str, layer: Overlaid | Served, *, replace: bool) -> None:
        lease = self._lease
        tree = self._copied(layer) if layer.tree is None else layer.tree
        if lease is None and self.base.below is None:
            tree = self._complete(tree)
        self._store.save_directory(
            name,
            tree,
            base=self.base.below,
            chain=() if lease is None else lease.snapshot.chain,
            command=self._given.command,
            parent=None if lease is None else lease.snapshot.name,
            replace=replace,
            since_ns=self._start_ns,
        )
        from vfsd.snapshots.background import settle_in_background

        # Where that cannot be started, `vfsd gc` does it.
        with suppress(OSError):
            settle_in_background(self._store, name)

    def _copied(self, layer: Overlaid | Served) -> str:
        """Return a directory with the layer, which is in memory, on the store's file system."""
        from vfsd.snapshots.hosttree import HostTree
        from vfsd.snapshots.writing import write_tree

        assert self.place is not None
        tree = os.path.join(self.place, "tree")
        with HostTree(f"/proc/self/fd/{layer.upper}", marks=True, kind="layer") as view:
            write_tree(view, tree)
        return tree

    def _complete(self, tree: str) -> str:
        """Return a directory with the layer and the base, which goes with the run or at any time.

        A cached checkout may be removed, and an archive may be written anew: no fork could
        stand on those.
        """
        from vfsd.snapshots.merging import merge

        whole = self._stack.enter_context(self._store.stage()).part("whole")
        merge((tree, *self.base.lowers), whole, whole=True)
        return whole

    def _apply(self, named: str | None) -> str:
        name = named or f"apply-{self._id}"
        # Imported here: most runs that keep something do without, and it takes its time.
        from vfsd.cli.apply import main as apply
        from vfsd.snapshots.collection import remove

        code = apply("apply", ["--quiet", name])
        if code == ExitCode.CONFLICT:
            raise UserError(
                f"{self.base.host} was changed outside while the command ran, so nothing was"
                f" written back; what it wrote is kept as {name}, and 'vfsd apply --force {name}'"
                " writes it"
            )
        if code != ExitCode.OK:
            raise UserError(
                f"not all was written back; what the command wrote is kept as {name}, and 'vfsd"
                f" apply {name}' goes on"
            )
        if named is None:
            remove(self._store, name)
        return f"; written back to {self.base.host}"

    def _forked(self) -> Lease | None:
        name = forked_name(self._given)
        if name is None:
            return None
        if self._given.has("--from") and (self._given.has("--base") or self._given.has("--files")):
            raise _wrong("--from NAME brings its own base; leave --base out")
        lease = self._stack.enter_context(self._store.lease(name))
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
        if not any(map(self._given.has, wanted)) or self._given.has("--layer"):
            return None
        place = self._stack.enter_context(self._store.stage()).part("run")
        os.mkdir(place, 0o700)
        self._check_whiteouts(place)
        return place

    def _check_whiteouts(self, place: str) -> None:
        """Refuse a store where no deletion could be kept: on overlayfs, as in many containers."""
        probe = os.path.join(place, "whiteout")
        try:
            os.mknod(probe, stat.S_IFCHR, 0)
        except OSError as error:
            raise UserError(
                f"the store in {self._store.place.root} is on a file system that cannot hold a"
                f" layer ({error.strerror}); set XDG_STATE_HOME to a directory on another one"
                " (in a container: a volume)"
            ) from error
        os.unlink(probe)


def forked_name(given: Given) -> str | None:
    """Return the snapshot that the command line says to work on."""
    base = given.last("--base") or ""
    word = base if base.startswith(SNAPSHOT) else given.last("--from")
    return None if word is None else word.removeprefix(SNAPSHOT)


def _wrong(what: str) -> UserError:
    return UserError(what, ExitCode.USAGE)
