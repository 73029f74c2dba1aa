"""`vfsd run`: a command in a sandbox, working on the tree that a vfsd mount shows.

Must start fast: nothing of the daemon is imported on the way, nor is argparse, which would
take longer than bwrap does.

Concurrency: one thread, see vfsd/sandbox/runner.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.host import find_bwrap, look_at_root
from vfsd.sandbox.mounts import served
from vfsd.sandbox.runner import run
from vfsd.sandbox.spec import Bind, Policy, render, starting
from vfsd.sandbox.terminal import terminal_if_interactive

HELP = """\
usage: vfsd run [options] -- CMD [ARGUMENT ...]

Run a command in a sandbox that sees the mounted tree, and of the host only /usr. Its exit
code is passed on; 125 means that vfsd itself failed, 126 and 127 what they mean in a shell.

options:
  --base DIR            show only this directory of a vfsd mount, and start there
                        (default: all of the mount, starting here)
  --chdir DIR           start there instead, inside the sandbox
  --net                 let it use the host's network
  --env KEY[=VALUE]     set a variable inside; without a value, to what it is here
  --bind SRC[:DEST]     show a path of the host inside, writable
  --ro-bind SRC[:DEST]  show a path of the host inside, read-only
  --path DIR            show a directory of tools, read-only, and look for programs in it
                        first (in its bin, if it has one)
  --quiet               say nothing but what CMD says
  -h, --help            show this

--env, --bind, --ro-bind and --path can be given several times."""

FLAGS = ("--net", "--quiet", "--help")
VALUED = ("--base", "--chdir", "--env", "--bind", "--ro-bind", "--path")

ROOT_SHOWN_AS = 1000
"""The uid and gid that root has inside: tools that are root try chown, which nobody can there."""


class Given(NamedTuple):
    """The command line, read."""

    options: dict[str, list[str]]
    command: list[str]

    def last(self, option: str) -> str | None:
        """Return the value of an option that counts once."""
        return self.options[option][-1] if option in self.options else None

    def all(self, option: str) -> list[str]:
        """Return the values of an option that can be given several times."""
        return self.options.get(option, [])


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd run`; its exit code is the command's, or 125 if there was none."""
    try:
        given = read(arguments)
        if "--help" in given.options:
            print(HELP)
            return ExitCode.OK
        policy = _policy(given)
        bwrap = find_bwrap()
        with terminal_if_interactive() as terminal:
            policy = policy._replace(terminal=terminal is not None)
            options = render(policy, look_at_root(), os.environ)
            return run(bwrap, options, starting(policy), terminal)
    except UserError as error:
        raise UserError(error.message, ExitCode.RUN_FAILED) from error
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else "the sandbox"
        raise UserError(f"{name}: {error.strerror or error}", ExitCode.RUN_FAILED) from error


def read(arguments: Sequence[str]) -> Given:
    """Read options up to ``--`` or the command. UserError for what is none."""
    options: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        name, separator, value = word.partition("=")
        if name == "-h":
            name = "--help"
        if name in FLAGS and not separator:
            options[name] = []
        elif name in VALUED:
            if not separator:
                if not rest:
                    raise _wrong(f"{name} needs a value")
                value = rest.pop(0)
            options.setdefault(name, []).append(value)
        else:
            raise _wrong(f"there is no option {word}")
    if not rest and "--help" not in options:
        raise _wrong("no command is given; it stands after --")
    return Given(options, rest)


def _wrong(what: str) -> UserError:
    return UserError(f"{what} ('vfsd run --help' tells the options)")


def _policy(given: Given) -> Policy:
    base = given.last("--base")
    place = served(base)
    shown = place.mountpoint if base is None else place.directory
    tools = [os.path.abspath(each) for each in given.all("--path")]
    binds = (
        *(_bind(each, each, writable=False) for each in tools),
        *(_bind(*_split(text), writable=False) for text in given.all("--ro-bind")),
        *(_bind(*_split(text), writable=True) for text in given.all("--bind")),
    )
    for bind in binds:
        _check_target(bind, shown)
    root = os.getuid() == 0
    return Policy(
        command=tuple(given.command),
        base=Bind(shown, shown, writable=True),
        directory=os.path.normpath(os.path.join(place.directory, given.last("--chdir") or "")),
        binds=binds,
        path=tuple(_programs(each) for each in tools),
        environment=_environment(given.all("--env")),
        network="--net" in given.options,
        uid=ROOT_SHOWN_AS if root else os.getuid(),
        gid=ROOT_SHOWN_AS if root else os.getgid(),
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
    for kept in ("/proc", "/dev"):
        private = f"{bind.target}/".startswith(f"{kept}/")
        if private and not bind.target.startswith("/dev/shm/"):
            raise UserError(f"{kept} is the sandbox's own; bind {bind.source} somewhere else")
    if bind.target.strip("/") == "" or f"{shown}/".startswith(f"{bind.target}/"):
        raise UserError(f"{bind.target} would hide the tree; bind {bind.source} somewhere else")
    # bwrap would make a missing target, and so change the tree.
    if f"{bind.target}/".startswith(f"{shown}/") and not os.path.lexists(bind.target):
        raise UserError(f"{bind.target} lies in the tree and does not exist; create it first")


def _programs(directory: str) -> str:
    inner = os.path.join(directory, "bin")
    return inner if os.path.isdir(inner) else directory
