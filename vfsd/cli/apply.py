"""`vfsd apply NAME [DIR]`: write what a snapshot changed back to the directory it stands on.

Exit codes: 10 if the directory was changed since and nothing was written; 1, 7 or 9 if some of
it could not be written, which `apply` again tries; 0 also if sockets, devices, or what only root
may set was left out: that is told.

Concurrency: one thread, and a lock on the directory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from vfsd.cli.progress import ProgressBar
from vfsd.cli.trees import lease, refuse_damaged
from vfsd.control.transfer import Progress
from vfsd.errors import UserError, exit_code_of
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.apply import Applier, Outcome, locked
from vfsd.snapshots.applyplan import Plan, Side, plan
from vfsd.snapshots.changes import Aspect, Change, is_directory
from vfsd.snapshots.fingerprint import Fingerprints, from_record
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.names import without_mark
from vfsd.snapshots.patch import status_line
from vfsd.snapshots.quoting import shown
from vfsd.snapshots.refusals import Damaged
from vfsd.snapshots.store import Store

LISTED_MAX = 1000
"""More paths than a person reads are counted instead."""

_SEEN_STEP = 512


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd apply`."""
    given = _arguments(arguments)
    with ExitStack() as stack:
        held = lease(stack, given.name)
        directory = _directory(given, held)
        taken = _fingerprints(held)
        if given.verify:
            refuse_damaged(held)
        fd = stack.enter_context(locked(directory))
        # The very directory that is locked, whatever its path leads to a moment later.
        reached = f"/proc/self/fd/{fd}"
        host = stack.enter_context(HostTree(reached))
        view = stack.enter_context(held.view_over(reached))
        with ProgressBar("comparing") as bar:
            planned = plan(host, view, taken, given.side, _seen(bar))
        if planned.conflicts and given.side is Side.NEITHER:
            return _refuse(given, planned, directory)
        if given.dry_run:
            return _rehearse(given, planned)
        with ProgressBar("applying") as bar:
            applier = Applier(fd, view, _told(bar, planned), set_id=given.set_id)
            outcome = applier.run(planned.changes, planned.stale)
    return _report(given, planned, outcome, directory)


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vfsd apply",
        description="Write a snapshot's changes back to the directory it stands on, or to DIR."
        " Where the directory was changed since, nothing is written and each path is named."
        " What was interrupted is finished by the same command.",
    )
    parser.add_argument("name", type=without_mark, metavar="NAME", help="a snapshot")
    parser.add_argument("directory", metavar="DIR", nargs="?", help="default: its base")
    side = parser.add_mutually_exclusive_group()
    side.add_argument(
        *("-f", "--force"),
        dest="side",
        action="store_const",
        const=Side.OURS,
        default=Side.NEITHER,
        help="the snapshot wins where both changed",
    )
    side.add_argument(
        "--theirs",
        dest="side",
        action="store_const",
        const=Side.THEIRS,
        help="the directory wins where both changed; the rest is applied",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would be done")
    parser.add_argument(
        "--no-verify",
        dest="verify",
        action="store_false",
        help="do not compare the snapshot's layers with their digests first",
    )
    parser.add_argument(
        "--set-id",
        action="store_true",
        help="also the set-user-ID and set-group-ID bits and the capabilities of files, which lend"
        " your rights to whoever runs them",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what goes wrong")
    parser.add_argument("--json", action="store_true", help="the outcome as a JSON object")
    return parser.parse_args(arguments)


def _directory(given: argparse.Namespace, held: Lease) -> str:
    if given.directory is not None:
        return str(given.directory)
    if held.base is None:
        raise UserError(
            f"the snapshot {given.name!r} stands on no directory; name the one to write to:"
            f" 'vfsd apply {given.name} DIR'",
            ExitCode.USAGE,
        )
    return os.fsdecode(held.base)


def _fingerprints(held: Lease) -> Fingerprints:
    try:
        return from_record(Store().fingerprints(held.snapshot))
    except ValueError as error:
        raise Damaged(f"the snapshot {held.snapshot.name!r} is damaged: {error}") from error


def _seen(bar: ProgressBar) -> Callable[[bytes], None] | None:
    show = bar.callback
    if show is None:
        return None
    count = 0

    def seen(path: bytes) -> None:
        nonlocal count
        count += 1
        if count % _SEEN_STEP == 0 and show is not None:
            show(Progress(count, 0))

    return seen


def _told(bar: ProgressBar, planned: Plan) -> Callable[[int, int], None] | None:
    show = bar.callback
    if show is None:
        return None
    files = size_bytes = 0

    def told(more_files: int, more_bytes: int) -> None:
        nonlocal files, size_bytes
        files, size_bytes = files + more_files, size_bytes + more_bytes
        if show is not None:
            show(Progress(files, size_bytes, len(planned.changes)))

    return told


# -- what is said ---------------------------------------------------------------------------


def _refuse(given: argparse.Namespace, planned: Plan, directory: str) -> int:
    rows = [(conflict.path, conflict.reason) for conflict in planned.conflicts]
    if given.json:
        _print_json(Outcome(), rows)
    count = "1 path" if len(rows) == 1 else f"{len(rows)} paths"
    _list(f"{count} in {directory} conflict with the snapshot {given.name!r}:", rows)
    _say(
        "nothing was written; --theirs applies the rest, --force overwrites these,"
        f" and 'vfsd diff {given.name}' shows what the snapshot has"
    )
    return ExitCode.CONFLICT


def _rehearse(given: argparse.Namespace, planned: Plan) -> int:
    if given.json:
        _print_json(Outcome(), _kept(planned), planned.changes)
    else:
        for change in planned.changes:
            if _is_by_the_way(change):
                continue
            sys.stdout.buffer.write(status_line(change))
        sys.stdout.buffer.flush()
        _list("left as the directory has them:", _kept(planned))
    return ExitCode.OK


def _report(given: argparse.Namespace, planned: Plan, outcome: Outcome, directory: str) -> int:
    kept = _kept(planned)
    if given.json:
        _print_json(outcome, kept)
    _list("left as the directory has them:", kept)
    _list("left out:", outcome.left_out)
    _list("written, but not permitted here:", outcome.incomplete)
    _list("not written:", outcome.failed)
    if outcome.waiting:
        why = [(path, "not come to") for path in outcome.waiting]
        _list("not written, because of that:", why)
    if outcome.failed:
        _say(
            f"{outcome.applied} of {len(planned.changes)} changes were written to {directory};"
            f" 'vfsd apply {given.name}' goes on where this ended"
        )
        return _exit_code(outcome)
    if not given.quiet and not given.json:
        print(_summary(planned.changes, directory))
    return ExitCode.OK


def _exit_code(outcome: Outcome) -> int:
    if outcome.error is not None:
        return exit_code_of(outcome.error)
    codes = set(map(exit_code_of, outcome.errors))
    return codes.pop() if len(codes) == 1 else ExitCode.FAILED


def _summary(changes: Iterable[Change], directory: str) -> str:
    counted = Counter(
        {"A": "added", "D": "removed"}.get(change.letter, "changed")
        for change in changes
        if not _is_by_the_way(change)
    )
    if not counted:
        return f"{directory} has all of it already"
    told = ", ".join(
        f"{counted[word]} {word}" for word in ("added", "changed", "removed") if counted[word]
    )
    return f"{directory}: {told}"


def _is_by_the_way(change: Change) -> bool:
    """Say whether a directory has but another time, because of what changed in it."""
    return change.aspects == Aspect.TIME and is_directory(change.new)


def _kept(planned: Plan) -> list[tuple[bytes, str]]:
    return [(conflict.path, conflict.reason) for conflict in planned.conflicts]


def _list(head: str, rows: list[tuple[bytes, str]]) -> None:
    if not rows:
        return
    _say(head)
    for path, reason in rows[:LISTED_MAX]:
        print(f"  {shown(path or b'.')}: {reason}", file=sys.stderr)
    if len(rows) > LISTED_MAX:
        print(f"  ... and {len(rows) - LISTED_MAX} more; --json lists all", file=sys.stderr)


def _say(sentence: str) -> None:
    print(f"vfsd: {sentence}", file=sys.stderr)


def _print_json(
    outcome: Outcome, conflicts: list[tuple[bytes, str]], changes: Iterable[Change] = ()
) -> None:
    from vfsd.cli.diff import exact

    def rows(pairs: Iterable[tuple[bytes, str]]) -> list[dict[str, str]]:
        return [{**exact("path", path), "reason": reason} for path, reason in pairs]

    print(
        json.dumps(
            {
                "applied": outcome.applied,
                "conflicts": rows(conflicts),
                "changes": [
                    {"status": change.letter, **exact("path", change.path)} for change in changes
                ],
                "left_out": rows(outcome.left_out),
                "incomplete": rows(outcome.incomplete),
                "failed": rows(outcome.failed),
                "waiting": [exact("path", path) for path in outcome.waiting],
            },
            indent=2,
        )
    )
