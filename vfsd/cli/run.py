"""`vfsd run`: a command in a sandbox, working on the tree that a vfsd mount shows.

Must start fast: neither trio nor msgpack is imported on the way.
"""

from __future__ import annotations

import argparse
import os

from vfsd import runtime
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.host import find_bwrap, look_at_root
from vfsd.sandbox.runner import run
from vfsd.sandbox.spec import Bind, Policy, render
from vfsd.sandbox.terminal import terminal_if_interactive


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd run`; its exit code is the command's, or 125 if there was none."""
    given = _parse(arguments)
    try:
        policy = _policy(given)
        bwrap = find_bwrap()
        with terminal_if_interactive() as terminal:
            if terminal is not None:
                policy = _with_terminal(policy)
            return run(bwrap, render(policy, look_at_root(), os.environ), terminal)
    except UserError as error:
        raise UserError(error.message, ExitCode.RUN_FAILED) from error
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else "the sandbox"
        raise UserError(f"{name}: {error.strerror or error}", ExitCode.RUN_FAILED) from error


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vfsd run",
        usage="vfsd run [options] -- CMD [ARGUMENT ...]",
        description="Run a command in a sandbox that sees the mounted tree, and of the host "
        "only /usr. Its exit code is passed on.",
    )
    parser.add_argument(
        "--base",
        metavar="DIR",
        help="a directory in a vfsd mount; the command starts there (default: here)",
    )
    parser.add_argument("--chdir", metavar="DIR", help="start there instead, inside the sandbox")
    parser.add_argument("--net", action="store_true", help="let it reach the network")
    parser.add_argument(
        "--env", metavar="KEY=VALUE", action="append", default=[], help="set a variable inside"
    )
    parser.add_argument(
        "--bind",
        metavar="SRC[:DEST]",
        action="append",
        default=[],
        help="show a path of the host inside, writable",
    )
    parser.add_argument(
        "--ro-bind",
        metavar="SRC[:DEST]",
        action="append",
        default=[],
        help="show a path of the host inside, read-only",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.command[:1] == ["--"]:
        given.command = given.command[1:]
    if not given.command:
        parser.error("no command is given; it stands after --")
    return given


def _policy(given: argparse.Namespace) -> Policy:
    base = os.path.abspath(given.base or os.getcwd())
    try:
        served = runtime.find(base)
    except UserError as error:
        if given.base:
            raise
        raise UserError(
            f"{base} is not in a vfsd mount; go into one, or name one with "
            "'vfsd run --base MOUNTPOINT -- ...'",
        ) from error
    mountpoint = os.fsdecode(served.mountpoint)
    base = os.path.join(mountpoint, os.fsdecode(served.prefix)).rstrip("/") or "/"
    try:
        if not os.path.isdir(base):
            os.stat(base)
            raise UserError(f"{base} is not a directory; name one to start in")
        os.listdir(base)
    except PermissionError:
        raise UserError(
            f"{base} cannot be read by this user; mount it as this user, or with --allow-other"
        ) from None
    binds = (
        Bind(mountpoint, mountpoint, writable=True),
        *(_bind(text, writable=False) for text in given.ro_bind),
        *(_bind(text, writable=True) for text in given.bind),
    )
    environment = {}
    for text in given.env:
        key, separator, value = text.partition("=")
        if not (key and separator):
            raise UserError(f"--env {text!r} is not of the form KEY=VALUE")
        environment[key] = value
    return Policy(
        command=tuple(given.command),
        directory=given.chdir or base,
        binds=binds,
        environment=environment,
        network=given.net,
        uid=os.getuid(),
        gid=os.getgid(),
    )


def _bind(text: str, *, writable: bool) -> Bind:
    source, separator, target = text.partition(":")
    source = os.path.abspath(source)
    if not os.path.exists(source):
        raise UserError(f"{source} does not exist, so it cannot be bound")
    target = target if separator else source
    if not target.startswith("/"):
        raise UserError(f"the target {target!r} of a bind must be an absolute path")
    return Bind(source, target, writable)


def _with_terminal(policy: Policy) -> Policy:
    from dataclasses import replace

    return replace(policy, terminal=True)
