"""`vfsd run`: a command in a sandbox, working on the tree that a vfsd mount shows.

Must start fast: nothing of the daemon is imported on the way, nor is argparse, which would
take longer than bwrap does.

Concurrency: one thread, see vfsd/sandbox/runner.py.
"""

from __future__ import annotations

import os

from vfsd.cli.rundoors import doors
from vfsd.cli.runlimits import limits_of, teller
from vfsd.cli.runoptions import read, usage
from vfsd.cli.runpolicy import policy_of
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.host import find_bwrap, look_at_root
from vfsd.sandbox.limiting import attendants, hold
from vfsd.sandbox.runner import run
from vfsd.sandbox.spec import render, starting
from vfsd.sandbox.terminal import terminal_if_interactive


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd run`; its exit code is the command's, or 125 if there was none."""
    try:
        given = read(arguments)
        if given.has("--help"):
            print(usage())
            return ExitCode.OK
        limits = limits_of(given)
        policy = policy_of(given)
        bwrap = find_bwrap()
        opened = doors(given)
        held = hold(limits, os.environ)
        policy = policy._replace(rlimits=held.rlimits, disk_bytes=limits.disk_bytes)
        company = [*attendants(limits, held, teller(given)), *opened]
        # What is counted comes through pipes.
        with terminal_if_interactive(limits.output_bytes is None) as terminal:
            policy = policy._replace(terminal=terminal is not None)
            options = render(policy, look_at_root(), os.environ)
            code = run(bwrap, options, starting(policy), terminal, attendants=company)
        if held.by:
            teller(given)(f"limits were held: {held.told()}")
        return code
    except UserError as error:
        raise UserError(error.message, ExitCode.RUN_FAILED) from error
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else "the sandbox"
        raise UserError(f"{name}: {error.strerror or error}", ExitCode.RUN_FAILED) from error
