"""`vfsd run`: a command in a sandbox, working on the tree that a vfsd mount shows.

Must start fast: neither trio nor msgpack nor anything of the daemon is imported on the way.

Concurrency: one thread, see vfsd/sandbox/runner.py.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.host import find_bwrap, look_at_root
from vfsd.sandbox.mounts import served
from vfsd.sandbox.runner import run
from vfsd.sandbox.spec import Bind, Policy, render, starting
from vfsd.sandbox.terminal import terminal_if_interactive

ROOT_SHOWN_AS = 1000
"""The uid and gid that root has inside: tools that are root try chown, which nobody can there."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd run`; its exit code is the command's, or 125 if there was none."""
    try:
        policy = _policy(_parse(arguments))
        bwrap = find_bwrap()
        with terminal_if_interactive() as terminal:
            policy = replace(policy, terminal=terminal is not None)
            options = render(policy, look_at_root(), os.environ)
            return run(bwrap, options, starting(policy), terminal)
    except UserError as error:
        raise UserError(error.message, ExitCode.RUN_FAILED) from error
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else "the sandbox"
        raise UserError(f"{name}: {error.strerror or error}", ExitCode.RUN_FAILED) from error


class _Parser(argparse.ArgumentParser):
    """argparse, but a wrong argument is a failure of `vfsd run` (125), not of the command (2)."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; 'vfsd run --help' tells the options")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="vfsd run",
        usage="vfsd run [options] -- CMD [ARGUMENT ...]",
        description="Run a command in a sandbox that sees the mounted tree, and of the host "
        "only /usr. Its exit code is passed on.",
        allow_abbrev=False,
    )

    def several(option: str, metavar: str, told: str) -> None:
        parser.add_argument(option, metavar=metavar, action="append", default=[], help=told)

    parser.add_argument(
        "--base",
        metavar="DIR",
        help="show only this directory of a vfsd mount, and start there"
        " (default: all of the mount, starting here)",
    )
    parser.add_argument("--chdir", metavar="DIR", help="start there instead, inside the sandbox")
    parser.add_argument("--net", action="store_true", help="let it use the host's network")
    several("--env", "KEY[=VALUE]", "set a variable inside; without a value, to what it is here")
    several("--bind", "SRC[:DEST]", "show a path of the host inside, writable")
    several("--ro-bind", "SRC[:DEST]", "show a path of the host inside, read-only")
    several(
        "--path",
        "DIR",
        "show a directory of tools, read-only, and look there first (in bin, if any)",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but what CMD says")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.command[:1] == ["--"]:
        given.command = given.command[1:]
    if not given.command:
        parser.error("no command is given; it stands after --")
    return given


def _policy(given: argparse.Namespace) -> Policy:
    place = served(given.base)
    shown = place.mountpoint if given.base is None else place.directory
    tools = [os.path.abspath(each) for each in given.path]
    binds = (
        *(_bind(each, each, writable=False) for each in tools),
        *(_bind(*_split(text), writable=False) for text in given.ro_bind),
        *(_bind(*_split(text), writable=True) for text in given.bind),
    )
    for bind in binds:
        _check_target(bind, shown)
    return Policy(
        command=tuple(given.command),
        base=Bind(shown, shown, writable=True),
        directory=os.path.normpath(os.path.join(place.directory, given.chdir or "")),
        binds=binds,
        path=tuple(_programs(each) for each in tools),
        environment=_environment(given.env),
        network=given.net,
        uid=os.getuid() or ROOT_SHOWN_AS,
        gid=os.getgid() if os.getuid() else ROOT_SHOWN_AS,
    )


def _environment(given: Iterable[str]) -> dict[str, str]:
    environment = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not key:
            raise UserError(f"--env {text!r} names no variable; write --env KEY=VALUE")
        if not separator and key not in os.environ:
            raise UserError(f"--env {key}: it is not set here; write --env {key}=VALUE")
        environment[key] = value if separator else os.environ[key]
    return environment


def _split(text: str) -> tuple[str, str]:
    source, separator, target = text.partition(":")
    source = os.path.abspath(source)
    return source, target if separator else source


def _bind(source: str, target: str, *, writable: bool) -> Bind:
    if not os.path.exists(source):
        raise UserError(f"{source} does not exist, so it cannot be shown inside")
    if not target.startswith("/"):
        raise UserError(f"the target {target!r} of a bind must be an absolute path")
    return Bind(source, os.path.normpath(target), writable)


def _check_target(bind: Bind, shown: str) -> None:
    if bind.target.lstrip("/") == "" or f"{shown}/".startswith(f"{bind.target}/"):
        raise UserError(f"{bind.target} would hide the tree; bind {bind.source} somewhere else")
    # bwrap would make a missing target, and so change the tree.
    if f"{bind.target}/".startswith(f"{shown}/") and not os.path.lexists(bind.target):
        raise UserError(f"{bind.target} lies in the tree and does not exist; create it first")


def _programs(directory: str) -> str:
    inner = os.path.join(directory, "bin")
    return inner if os.path.isdir(inner) else directory
