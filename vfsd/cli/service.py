"""`vfsd service`: a mount that systemd starts at login, watches, and starts again after a crash.

The user's own service manager does all of it; this installs the unit (systemd/vfsd@.service) and
says what to ask for. An instance is the name of a configuration file: vfsd@work mounts what
~/.config/vfsd/work.toml says.

Concurrency: blocking calls of systemctl and journalctl.

Sources: systemctl(1), systemd.unit(5), loginctl(1).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess

from vfsd.cli import unit
from vfsd.configfile.mounting import directory_of, mount_config
from vfsd.configfile.places import config_directory, named_file
from vfsd.configfile.reading import read
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

VERBS = {
    "install": "have it started at login, and start it now",
    "start": "start it",
    "stop": "unmount it, and end it",
    "restart": "stop it and start it again",
    "reload": "have its configuration read again",
    "status": "say how it is",
    "logs": "show what it logged",
    "uninstall": "stop it, and start it at login no more",
}

SHOWN = ("ActiveState", "SubState", "StatusText", "Result", "MainPID", "NRestarts", "UnitFileState")
"""What `status --json` tells: properties as systemctl(1) names them."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
"""What an instance may be called without being escaped."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd service VERB NAME`."""
    parser = argparse.ArgumentParser(
        prog="vfsd service", description="A mount as a service of your systemd."
    )
    verbs = parser.add_subparsers(dest="what", required=True, metavar="VERB")
    for what, text in VERBS.items():
        each = verbs.add_parser(what, help=text)
        each.add_argument("name", help="of a configuration, ~/.config/vfsd/NAME.toml")
        if what == "install":
            each.add_argument("--no-start", action="store_true", help="do not start it now")
        if what == "status":
            each.add_argument("--json", action="store_true", help="as JSON")
        if what == "logs":
            each.add_argument("-f", "--follow", action="store_true", help="go on showing")
            each.add_argument("-n", "--lines", type=int, default=100, help="the last N (100)")
            each.add_argument("--json", action="store_true", help="a line of JSON for each")
    given = parser.parse_args(arguments)
    if not _NAME.fullmatch(given.name):
        raise UserError(
            f"{given.name!r} cannot be the name of a service; use letters, digits and _ . -",
            ExitCode.USAGE,
        )
    instance = f"vfsd@{given.name}.service"
    if given.what == "install":
        return _install(given.name, instance, start=not given.no_start)
    if given.what == "uninstall":
        return _uninstall(instance)
    if given.what == "logs":
        more = ["--follow"] if given.follow else []
        more += ["--output=json"] if given.json else []
        # --quiet: that there are other people's logs as well helps nobody here.
        words = ("--quiet", "--user-unit", instance, f"--lines={given.lines}")
        return _passed_on("journalctl", *words, *more)
    if given.what == "status" and given.json:
        print(json.dumps(_properties(instance), indent=2))
        return ExitCode.OK
    if given.what == "status":
        return _passed_on("systemctl", "--user", "--no-pager", "status", instance)
    _systemctl(given.what, instance)
    return ExitCode.OK


def _install(name: str, instance: str, *, start: bool) -> int:
    # First: a service that cannot start is better not installed.
    file = read(named_file(name))
    mountpoint = directory_of(file)
    if mountpoint is None:
        raise UserError(
            f'{file.path} names no mountpoint; write [mount] directory = "..." into it',
            ExitCode.USAGE,
        )
    mount_config(file, mountpoint, {})
    os.makedirs(mountpoint, 0o700, exist_ok=True)
    path = unit.directory() / unit.NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(str(path), unit.text())
    _systemctl("daemon-reload")
    _systemctl("enable", *(["--now"] if start else []), instance)
    print(f"{instance} mounts {mountpoint}; 'vfsd service logs {name}' shows what it says")
    return ExitCode.OK


def _replace(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as target:
        target.write(text)
    os.rename(temporary, path)


def _uninstall(instance: str) -> int:
    _systemctl("disable", "--now", instance)
    # It may have failed before; it is not to be told of any more.
    _run("systemctl", "--user", "reset-failed", instance)
    listed = ("list-unit-files", "--state=enabled"), ("list-units", "--plain")
    # Both give 1 where there are none.
    others = [
        _run("systemctl", "--user", *each, "--no-legend", "vfsd@*.service") for each in listed
    ]
    if not any(each.stdout.strip() for each in others):
        (unit.directory() / unit.NAME).unlink(missing_ok=True)
        _systemctl("daemon-reload")
    return ExitCode.OK


def _properties(instance: str) -> dict[str, str]:
    """Return how a service is, in the words of systemd; one that is not there is inactive."""
    shown = _systemctl("show", *(f"--property={each}" for each in SHOWN), instance)
    pairs = (line.partition("=") for line in shown.splitlines())
    return {name: value for name, _, value in pairs}


def _systemctl(*arguments: str) -> str:
    done = _run("systemctl", "--user", *arguments)
    if done.returncode:
        raise _explained(done.stderr, arguments)
    return done.stdout


def _explained(said: str, arguments: tuple[str, ...]) -> UserError:
    if "Failed to connect to bus" in said:
        return UserError(
            "no service manager runs for this user; log in, or have one kept running with"
            " 'loginctl enable-linger' ",
            ExitCode.UNAVAILABLE,
        )
    what = " ".join(arguments)
    name = arguments[-1].removeprefix("vfsd@").removesuffix(".service")
    if "not found" in said or "does not exist" in said or "not loaded" in said:
        return UserError(
            f"there is no service {arguments[-1]}; 'vfsd service install {name}' makes one from"
            f" {config_directory()}/{name}.toml",
            ExitCode.NOT_FOUND,
        )
    first = said.strip().splitlines()[0] if said.strip() else "no reason was given"
    return UserError(
        f"systemctl --user {what} failed: {first}; 'vfsd service logs {name}' says more",
        ExitCode.FAILED,
    )


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise _missing(command[0]) from None


def _passed_on(*command: str) -> int:
    """Run a command that shows by itself, and pass its exit code on."""
    try:
        return subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        raise _missing(command[0]) from None


def _missing(program: str) -> UserError:
    return UserError(
        f"{program} is missing, so there is no systemd here; start the mount with 'vfsd mount'",
        ExitCode.UNAVAILABLE,
    )
