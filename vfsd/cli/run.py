"""`vfsd run`: a command in a sandbox, working on a project or on the tree of a vfsd mount.

Must start fast: nothing of the daemon is imported on the way, nor is argparse, which would
take longer than bwrap does.

Concurrency: one thread, see vfsd/sandbox/runner.py.
"""

from __future__ import annotations

import os
import time

from vfsd.blocks import ExitStack, closing
from vfsd.cli.rundefaults import with_defaults
from vfsd.cli.rundoors import doors
from vfsd.cli.runlimits import limits_of, teller
from vfsd.cli.runoptions import Given, read, usage
from vfsd.cli.runpolicy import base_of, engine_of, layer_place, policy_of
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.bases import SNAPSHOT, Base, foreign_below, foreign_owner
from vfsd.sandbox.givenfile import given_file
from vfsd.sandbox.guardian import Guardian
from vfsd.sandbox.holding import hold
from vfsd.sandbox.host import find_bwrap, look_at_root
from vfsd.sandbox.limits import Limits
from vfsd.sandbox.overlaid import Overlaid
from vfsd.sandbox.runner import run
from vfsd.sandbox.runs import Run
from vfsd.sandbox.spawning import open_missing_streams
from vfsd.sandbox.spec import Bind, render, starting
from vfsd.sandbox.steps import EngineFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vfsd.cli.runkeeping import Keeping
    from vfsd.sandbox.holding import Held
    from vfsd.sandbox.served import Served
    from vfsd.sandbox.terminal import Terminal

KEPT = ("--save", "--from", "--apply", "--apply-always", "--keep-on-failure")
"""Options for which the store of snapshots is needed."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd run`; its exit code is the command's, or 125 if there was none."""
    # First: what is opened below must not get the number of a standard stream.
    open_missing_streams()
    try:
        given = read(arguments)
        if given.has("--help"):
            print(usage())
            return ExitCode.OK
        return _run(with_defaults(given))
    except UserError as error:
        code = error.exit_code
        if code not in (ExitCode.RUN_NOT_FOUND, ExitCode.RUN_NOT_EXECUTABLE):
            code = ExitCode.RUN_FAILED
        raise UserError(error.message, code) from error
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else "the sandbox"
        raise UserError(f"{name}: {error.strerror or error}", ExitCode.RUN_FAILED) from error


def _run(given: Given) -> int:
    engine = engine_of(given)
    limits = limits_of(given)
    say = teller(given)
    start_s = time.monotonic()

    def report(what: str) -> None:
        say(f"{what}, {time.monotonic() - start_s:.2f} s")

    if engine == "native":
        code = _natively(given)
        report("ran natively, without isolation")
        return code
    with ExitStack() as stack:
        guardian = stack.enter_context(closing(Guardian()))
        record = stack.enter_context(closing(Run(given.command, guardian.watch)))
        keeping = _keeping(given, record, stack)
        base = base_of(given, record.directory, stack) if keeping is None else keeping.base
        if given.has("--write"):
            if base.host is None:
                raise UserError(
                    f"--write is for a directory, and {base.told} is none; leave it out, and what"
                    " is written goes to a layer"
                )
            record.tell("none", base.told)
            return _isolated(given, base, limits, record, guardian, base.lowers[0], ())
        if limits.disk_bytes is not None and given.has("--layer"):
            raise UserError(
                "--disk limits a layer in memory, and --layer has it in a directory; leave one of"
                " them out, or keep it with --save"
            )
        sized = () if limits.disk_bytes is None else (f"size={limits.disk_bytes}",)
        # A layer of limited size is in memory, and copied if it is kept: no limit is known for
        # a directory that every user of every file system may set.
        staged = None if keeping is None or sized else keeping.place
        place = staged if staged is not None else layer_place(given, stack)

        def through(layer: Overlaid | Served) -> int:
            stack.enter_context(closing(layer))
            record.tell(layer.name, base.told)
            code = _isolated(
                given, base, limits, record, guardian, layer.source, (layer, _Meanwhile(keeping))
            )
            told = "" if given.has("--quiet") else _changed(layer)
            kept = "" if keeping is None else keeping.finish(code, layer)
            report(f"{told}{kept} ({layer.name} engine)")
            if code and layer.name == Overlaid.name and (theirs := foreign_below(base)) is not None:
                say(
                    f"{theirs!r} is not this user's and group's own, and the kernel engine cannot"
                    " change such a file (EOVERFLOW); '--engine fuse' can"
                )
            return code

        foreign = None if engine != "auto" else foreign_owner(base)
        if foreign is not None:
            say(f"{foreign} is not this user's and group's own; the fuse engine does it")
        elif engine != "fuse":
            try:
                return through(Overlaid(base.lowers, place, sized))
            except EngineFailed as failed:
                if engine == "kernel" or not failed.is_the_engine_s:
                    raise
                say(f"{failed.why}; the fuse engine does it")
        if sized and keeping is not None and keeping.place is not None:
            raise UserError(
                "--disk with a layer that is kept takes the kernel engine ('vfsd doctor' says what"
                " it lacks here); leave --disk out, or what keeps it"
            )
        from vfsd.cli.companion import serve
        from vfsd.sandbox.served import Served

        return through(Served(serve, base.lowers, place, record.directory, limits.disk_bytes))


def _keeping(given: Given, record: Run, stack: ExitStack) -> Keeping | None:
    forked = (given.last("--base") or "").startswith(SNAPSHOT)
    if not forked and not any(map(given.has, KEPT)):
        return None
    from vfsd.cli.runkeeping import Keeping

    return stack.enter_context(closing(Keeping(given, record, stack)))


def _isolated(
    given: Given,
    base: Base,
    limits: Limits,
    record: Run,
    guardian: Guardian,
    source: str,
    layers: Sequence[Attendant],
) -> int:
    policy = policy_of(given, base)
    bwrap = find_bwrap()
    opened = doors(given)
    root = look_at_root()
    with ExitStack() as stack:
        terminal = _terminal(limits, stack)
        record.tell_start(policy.directory, filtered=not given.has("--no-seccomp"))
        # Last of what is taken: whoever runs removes the group, and nobody does before.
        held = hold(limits, os.environ)
        guardian.watch_groups(() if held.group is None else held.group.directories)
        policy = policy._replace(
            rlimits=held.rlimits,
            disk_bytes=limits.disk_bytes,
            base=Bind(source, base.shown, writable=True),
            terminal=terminal is not None,
        )
        company = [*layers, *_limiters(limits, held, teller(given)), *opened, *given_file()]
        options = render(policy, root, os.environ)
        code = run(
            bwrap,
            options,
            starting(policy),
            terminal,
            attendants=[*company, record, guardian],
        )
    if held.by:
        teller(given)(f"limits were held: {held.told()}")
    return code


class _Meanwhile(Attendant):
    """Imports what the end of a run needs while its command runs."""

    def __init__(self, keeping: Keeping | None) -> None:
        self._keeping = keeping
        self._is_due = False

    def inside(self, init: int) -> None:
        """The command may start; it waits no more when this is asked for the next time."""
        self._is_due = True

    def pump(self, ready: Mapping[int, int]) -> None:
        """Import, once."""
        if self._is_due:
            self._is_due = False
            import vfsd.sandbox.changes  # noqa: F401

            if self._keeping is not None:
                self._keeping.prepare()


def _limiters(limits: Limits, held: Held, say: Callable[[str], None]) -> list[Attendant]:
    if limits == Limits():
        return []
    # Imported here: most runs have none.
    from vfsd.sandbox.limiting import attendants

    return attendants(limits, held, say)


def _terminal(limits: Limits, stack: ExitStack) -> Terminal | None:
    # What is counted comes through pipes.
    if limits.output_bytes is not None or not (os.isatty(0) and os.isatty(1)):
        return None
    # Imported here: most runs have no terminal.
    from vfsd.sandbox.terminal import terminal_if_interactive

    return stack.enter_context(terminal_if_interactive())


def _natively(given: Given) -> int:
    from vfsd.sandbox import native

    with ExitStack() as stack, closing(Run(given.command)) as record:
        base = base_of(given, record.directory, stack)
        if base.host is None:
            raise UserError(f"the native engine works on a directory only, and not on {base.told}")
        record.tell("native", base.told)
        policy = policy_of(given, base)
        environment = {**os.environ, **policy.environment}
        return native.run(policy.command, policy.directory, environment)


def _changed(layer: Overlaid | Served) -> str:
    from vfsd.sandbox.changes import Changes, count

    if layer.upper is None:
        return str(Changes(more=layer.tree is None))
    return str(count(layer.upper, layer.lowers))
