"""`vfsd ls`, `cat`, `put` and `get`: files through the control socket, not through the mount.

Arguments and results follow ls(1), cat(1) and cp(1). What fails for one file is told in one
sentence, and the others are done all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import stat as stat_module
import sys
import time
from collections.abc import Callable

from vfsd.cli.paths import Connections, Outcome, last_name
from vfsd.cli.progress import ProgressBar
from vfsd.client import Client, FileInfo, Report
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

CHUNK_BYTES = 1 << 20


def main(verb: str, arguments: list[str]) -> int:
    """Run one of the verbs on files."""
    verbs: dict[str, Callable[[list[str]], int]] = {
        "ls": _ls,
        "cat": _cat,
        "put": _put,
        "get": _get,
    }
    return verbs[verb](arguments)


# -- ls -------------------------------------------------------------------------------------


def _ls(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd ls", description="List a directory of a mounted tree."
    )
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("-l", dest="long", action="store_true", help="with attributes")
    parser.add_argument("-a", dest="all", action="store_true", help="names with a dot too")
    parser.add_argument("--json", action="store_true", help="as a JSON array")
    given = parser.parse_args(arguments)
    outcome = Outcome()
    rows: list[dict[str, object]] = []
    with Connections() as connections:
        for position, path in enumerate(given.paths):
            try:
                client, place = connections.locate(path)
                entries = _entries(client, place, path, hidden=given.all or given.json)
                if given.json:
                    rows += [_row(client, place, *entry) for entry in entries]
                    continue
                if len(given.paths) > 1:
                    _write(b"\n" * bool(position) + os.fsencode(path) + b":\n")
                for name, info in entries:
                    line = _long_line(client, place, name, info) if given.long else _shown(name)
                    _write(line + b"\n")
            except (OSError, UserError) as error:
                outcome.complain(path, error)
    if given.json:
        _write(json.dumps(rows, indent=2).encode() + b"\n")
    sys.stdout.flush()
    return outcome.code()


def _entries(
    client: Client, place: bytes, path: str, *, hidden: bool
) -> list[tuple[bytes, FileInfo]]:
    info = client.stat(place)
    if not info.is_dir:
        return [(os.fsencode(path), client.stat(place, follow=False))]
    entries = client.scandir(place)
    return [entry for entry in entries if hidden or not entry[0].startswith(b".")]


def _target(client: Client, place: bytes, name: bytes, info: FileInfo) -> bytes:
    at = place + b"/" + name if client.stat(place).is_dir else place
    return client.readlink(at) if info.is_symlink else b""


def _row(client: Client, place: bytes, name: bytes, info: FileInfo) -> dict[str, object]:
    stat = info.stat
    row: dict[str, object] = {
        "name": os.fsdecode(name),
        "mode": stat_module.filemode(stat.mode),
        "links": stat.nlink,
        "uid": stat.uid,
        "gid": stat.gid,
        "size_bytes": stat.size,
        "mtime_ns": stat.mtime_ns,
    }
    if info.is_symlink:
        row["target"] = os.fsdecode(_target(client, place, name, info))
    return row


def _long_line(client: Client, place: bytes, name: bytes, info: FileInfo) -> bytes:
    stat = info.stat
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(stat.mtime_ns // 10**9))
    line = (
        f"{stat_module.filemode(stat.mode)} {stat.nlink:>3} {_user(stat.uid):<8}"
        f" {_group(stat.gid):<8} {stat.size:>10} {when} "
    ).encode() + _shown(name)
    if info.is_symlink:
        line += b" -> " + _shown(_target(client, place, name, info))
    return line


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _shown(name: bytes) -> bytes:
    """Return a name for printing: on a terminal, control characters must not reach it."""
    if not sys.stdout.isatty():
        return name
    text = os.fsdecode(name)
    if text.isprintable():
        return name
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    ).encode(errors="backslashreplace")


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)


# -- cat ------------------------------------------------------------------------------------


def _cat(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="vfsd cat", description="Print files of a mounted tree.")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    given = parser.parse_args(arguments)
    outcome = Outcome()
    with Connections() as connections:
        for path in given.paths:
            try:
                client, place = connections.locate(path)
                with client.open(place) as source:
                    while data := source.read(CHUNK_BYTES):
                        _write(data)
            except BrokenPipeError:
                raise
            except (OSError, UserError) as error:
                outcome.complain(path, error)
    sys.stdout.flush()
    return outcome.code()


# -- put and get ------------------------------------------------------------------------------


def _put(arguments: list[str]) -> int:
    given = _copy_arguments("put", "Copy files from the host into a mounted tree.", arguments)
    outcome = Outcome()
    with Connections() as connections, ProgressBar("put") as progress:
        client, place = connections.locate(given.target)
        into = _is_directory(client, place)
        _check_target(given.sources, given.target, into=into)
        for source in given.sources:
            try:
                found = os.lstat(source) if given.recursive else os.stat(source)
            except OSError as error:
                outcome.complain(source, error)
                continue
            if stat_module.S_ISDIR(found.st_mode) and not given.recursive:
                outcome.say(f"{source} is a directory; -r copies directories")
                continue
            name = os.fsencode(last_name(source)) if into else b""
            target = place.rstrip(b"/") + b"/" + name if name else place
            try:
                report = client.put_tree(
                    source, target, progress.callback, follow=not given.recursive
                )
                _tell(outcome, report)
            except OSError as error:  # the source is there: it is about where it was to go
                outcome.complain(given.target, error)
    return outcome.code()


def _get(arguments: list[str]) -> int:
    given = _copy_arguments("get", "Copy files of a mounted tree onto the host.", arguments)
    outcome = Outcome()
    into = os.path.isdir(given.target)
    _check_target(given.sources, given.target, into=into)
    with Connections() as connections, ProgressBar("get") as progress:
        for source in given.sources:
            try:
                client, place = connections.locate(source)
                found = client.stat(place, follow=not given.recursive)
            except (OSError, UserError) as error:
                outcome.complain(source, error)
                continue
            if found.is_dir and not given.recursive:
                outcome.say(f"{source} is a directory; -r copies directories")
                continue
            name = last_name(source) or os.path.basename(
                os.fsdecode(place.rstrip(b"/") or client.mountpoint)
            )
            target = os.path.join(given.target, name) if into else given.target
            try:
                report = client.get_tree(
                    place, target, progress.callback, follow=not given.recursive
                )
                _tell(outcome, report)
            except OSError as error:  # the source is there: it is about where it was to go
                outcome.complain(target, error)
    return outcome.code()


def _copy_arguments(verb: str, description: str, arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"vfsd {verb}", description=description)
    parser.add_argument("-r", dest="recursive", action="store_true", help="directories too")
    parser.add_argument("sources", nargs="+", metavar="SRC")
    parser.add_argument("target", metavar="DEST")
    return parser.parse_args(arguments)


def _is_directory(client: Client, place: bytes) -> bool:
    try:
        return client.stat(place).is_dir
    except (FileNotFoundError, NotADirectoryError):
        return False


def _check_target(sources: list[str], target: str, *, into: bool) -> None:
    if not into and (len(sources) > 1 or target.endswith("/")):
        raise UserError(f"{target} is not a directory; name one that exists", ExitCode.NOT_FOUND)


def _tell(outcome: Outcome, report: Report) -> None:
    for problem in report.problems:
        outcome.say(problem.sentence())
