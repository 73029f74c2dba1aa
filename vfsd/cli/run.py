"""`vfsd run`: a command in a sandbox, working on a project or on the tree of a vfsd mount.

Must start fast: nothing of the daemon is imported on the way, nor is argparse, which would
take longer than bwrap does.

Concurrency: one thread, see vfsd/sandbox/runner.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from vfsd.cli.rundoors import doors
from vfsd.cli.runlimits import limits_of, teller
from vfsd.cli.runoptions import Given, read, usage
from vfsd.cli.runpolicy import base_of, engine_of, policy_of
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.bases import Base
from vfsd.sandbox.changes import Changes, count
from vfsd.sandbox.host import find_bwrap, look_at_root
from vfsd.sandbox.limiting import attendants, hold
from vfsd.sandbox.limits import Limits
from vfsd.sandbox.overlaid import Overlaid
from vfsd.sandbox.runner import run
from vfsd.sandbox.runs import Run
from vfsd.sandbox.spawning import open_missing_streams
from vfsd.sandbox.spec import Bind, render, starting
from vfsd.sandbox.terminal import terminal_if_interactive

if TYPE_CHECKING:
    from vfsd.cli.runkeeping import Keeping

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
        return _run(given)
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
        keeping = _keeping(given, stack)
        base = base_of(given) if keeping is None else keeping.base
        if given.has("--write"):
            return _isolated(given, base, limits, "none", base.lowers[0], ())
        place = None if keeping is None else keeping.place
        sized = () if limits.disk_bytes is None else (f"size={limits.disk_bytes}",)
        layer = stack.enter_context(closing(Overlaid(base.lowers, place, sized)))
        code = _isolated(given, base, limits, layer.name, layer.source, (layer,))
        told = "" if given.has("--quiet") else str(_changes(layer))
        kept = "" if keeping is None else keeping.finish(code)
        report(f"{told}{kept} ({layer.name} engine)")
        return code


def _keeping(given: Given, stack: ExitStack) -> Keeping | None:
    if not any(map(given.has, KEPT)):
        return None
    from vfsd.cli.runkeeping import Keeping

    return stack.enter_context(closing(Keeping(given)))


def _isolated(
    given: Given,
    base: Base,
    limits: Limits,
    engine: str,
    source: str,
    layers: Sequence[Attendant],
) -> int:
    policy = policy_of(given, base)
    bwrap = find_bwrap()
    opened = doors(given)
    held = hold(limits, os.environ)
    policy = policy._replace(
        rlimits=held.rlimits,
        disk_bytes=limits.disk_bytes,
        base=Bind(source, base.shown, writable=True),
    )
    company = [*layers, *attendants(limits, held, teller(given)), *opened]
    with (
        closing(Run(engine, base.told, given.command)) as record,
        # What is counted comes through pipes.
        terminal_if_interactive(limits.output_bytes is None) as terminal,
    ):
        policy = policy._replace(terminal=terminal is not None)
        options = render(policy, look_at_root(), os.environ)
        code = run(bwrap, options, starting(policy), terminal, attendants=[*company, record])
    if held.by:
        teller(given)(f"limits were held: {held.told()}")
    return code


def _natively(given: Given) -> int:
    from vfsd.sandbox import native

    policy = policy_of(given, base_of(given))
    environment = {**os.environ, **policy.environment}
    return native.run(policy.command, policy.directory, environment)


def _changes(layer: Overlaid) -> Changes:
    return Changes() if layer.upper is None else count(layer.upper, layer.lowers)
