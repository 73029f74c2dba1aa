"""`vfsd snapshot rm`, `mv`, `verify` and `vfsd gc`: what keeps the store in order.

Concurrency: blocking calls, beside any number of runs and forks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from vfsd.cli.progress import SILENT_SECONDS, ProgressBar
from vfsd.cli.snapshotlist import size_text
from vfsd.control.transfer import Progress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.collection import Collected, collect, foresee, remove
from vfsd.snapshots.names import without_mark
from vfsd.snapshots.naming import rename
from vfsd.snapshots.refusals import NotFound
from vfsd.snapshots.store import Store
from vfsd.snapshots.verification import verify


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd gc`."""
    parser = argparse.ArgumentParser(
        prog="vfsd gc",
        description="Collect what no snapshot needs: what killed runs left, unused layers; merge"
        " layers that are only used together, fold deep chains, write to disk what is not yet"
        " there. What is in use stays.",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--json", action="store_true", help="as a JSON object")
    given = parser.parse_args(arguments)
    store = Store()
    done = foresee(store) if given.dry_run else collect(store, _steps())
    if given.json:
        print(json.dumps({**asdict(done), "dry_run": given.dry_run}, indent=2))
        return ExitCode.OK
    print(_summary(done, would=given.dry_run))
    for reason in done.kept:
        print(f"vfsd: {reason}", file=sys.stderr)
    return ExitCode.OK


def remove_named(arguments: list[str]) -> int:
    """Run `vfsd snapshot rm`."""
    parser = argparse.ArgumentParser(
        prog="vfsd snapshot rm",
        description="Remove snapshots, and free what only they hold. Those made from them stay.",
    )
    parser.add_argument("names", type=without_mark, metavar="NAME", nargs="+", help="snapshots")
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="also while a fork is running on it; 'vfsd gc' frees the space once that has ended",
    )
    parser.add_argument("--json", action="store_true", help="as a JSON object")
    given = parser.parse_args(arguments)
    store = Store()
    worst = 0
    freed_bytes = 0
    removed = []
    for name in given.names:
        try:
            done = _remove(store, name, force=given.force)
        except UserError as error:
            print(f"vfsd: {error.message}", file=sys.stderr)
            worst = worst or error.exit_code
            continue
        removed.append(name)
        freed_bytes += done.freed_bytes
        for reason in done.kept:
            print(f"vfsd: {reason}", file=sys.stderr)
    if given.json:
        print(json.dumps({"removed": removed, "freed_bytes": freed_bytes}, indent=2))
    elif freed_bytes:
        print(f"{size_text(freed_bytes)} freed")
    return worst


def rename_named(arguments: list[str]) -> int:
    """Run `vfsd snapshot mv`."""
    parser = argparse.ArgumentParser(
        prog="vfsd snapshot mv",
        description="Give a stored snapshot another name. Those made from it tell of the new one.",
    )
    parser.add_argument("old", type=without_mark, metavar="NAME", help="a snapshot's name")
    parser.add_argument("new", metavar="NEW", help="a name that none has")
    given = parser.parse_args(arguments)
    rename(Store(), given.old, given.new)
    return ExitCode.OK


def verify_named(arguments: list[str]) -> int:
    """Run `vfsd snapshot verify`."""
    parser = argparse.ArgumentParser(
        prog="vfsd snapshot verify",
        description="Read every file of snapshots (all, and the store itself, if none is named)"
        " and compare it with its digest. Each damage names the file, and who needs it.",
    )
    parser.add_argument("names", type=without_mark, metavar="NAME", nargs="*", help="snapshots")
    parser.add_argument(
        "--accept",
        action="store_true",
        help="take snapshots that were not on disk when the machine went down as they are now",
    )
    parser.add_argument("--json", action="store_true", help="as a JSON object")
    given = parser.parse_args(arguments)
    if given.accept and not given.names:
        raise UserError("name the snapshots that --accept is for", ExitCode.USAGE)
    with ProgressBar("verifying") as bar:
        told = None if bar.callback is None else _summed(bar.callback)
        done = verify(Store(), given.names, accept=given.accept, told=told)
    if given.json:
        print(json.dumps(asdict(done), indent=2))
    else:
        for found in done.damages:
            users = f" (needed by {', '.join(found.snapshots)})" if found.snapshots else ""
            print(f"{found.what}{users}")
        number = len(done.damages) or "no"
        print(
            f"{_count(len(done.snapshots), 'snapshot')}, {_count(len(done.layers), 'layer')}:"
            f" {number} damage{'' if len(done.damages) < 2 else 's'} found",
            file=sys.stderr if done.damages else sys.stdout,
        )
    return ExitCode.DAMAGED if done.damages else ExitCode.OK


def _remove(store: Store, name: str, *, force: bool) -> Collected:
    try:
        return remove(store, name, force=force)
    except NotFound:
        if not _remove_live(name):
            raise
        return Collected()


def _remove_live(name: str) -> bool:
    """Remove a live snapshot if just one of this user's daemons has one of that name."""
    from vfsd import runtime

    sockets = runtime.sockets()
    if not sockets:
        return False
    from vfsd.client import Client

    holders = []
    for path in sockets:
        served = runtime.Served(path, b"", b"", os.geteuid())
        try:
            with Client(served, 5.0) as client:
                if any(info.name == name for info in client.snapshots.list()):
                    holders.append(served)
        except (OSError, UserError):
            continue
    if len(holders) > 1:
        raise UserError(
            f"{len(holders)} daemons have a live snapshot {name!r}; it goes with its daemon",
            ExitCode.REFUSED,
        )
    for served in holders:
        with Client(served) as client:
            client.snapshots.remove(name)
    return bool(holders)


def _steps() -> Callable[[str], None]:
    """Return what shows the steps of work that lasts, where somebody looks."""
    if not sys.stderr.isatty():
        return lambda _: None
    started = time.monotonic()

    def show(what: str) -> None:
        if time.monotonic() - started > SILENT_SECONDS:
            print(f"vfsd: {what} ...", file=sys.stderr)

    return show


def _summed(callback: Callable[[Progress], None]) -> Callable[[int, int], None]:
    """Return what adds up the layers, each of which counts from the beginning."""
    before = Progress(0, 0)
    last = Progress(0, 0)

    def told(files: int, size_bytes: int) -> None:
        nonlocal before, last
        if files < last.files:
            before = Progress(before.files + last.files, before.size_bytes + last.size_bytes)
        last = Progress(files, size_bytes)
        callback(Progress(before.files + files, before.size_bytes + size_bytes))

    return told


def _summary(done: Collected, *, would: bool) -> str:
    parts = []
    if done.leftovers:
        parts.append(f"{_count(done.leftovers, 'leftover')} of what was never finished")
    if done.layers:
        parts.append(_count(len(done.layers), "unused layer"))
    told = []
    if parts:
        told.append(f"{'would remove' if would else 'removed'} {' and '.join(parts)}")
    if done.merged:
        layers = sum(len(run) for run in done.merged)
        told.append(f"{'would merge' if would else 'merged'} {layers} layers to {len(done.merged)}")
    if done.folded:
        told.append(f"{'would fold' if would else 'folded'} {', '.join(done.folded)}")
    if done.settled:
        told.append(f"{'would write' if would else 'wrote'} {', '.join(done.settled)} to disk")
    if done.freed_bytes:
        told.append(f"{size_text(done.freed_bytes)} {'to free' if would else 'freed'}")
    return "; ".join(told) or "nothing to do"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
