"""`vfsd diff A [B]`: what differs between two snapshots or directories, as git would show it.

By default a status line for every path, followed by the changed lines of small text files; `-p`
gives a patch alone, which `git apply` and patch(1) read.

Exit code: 0, also if there are differences, unless `--exit-code` or `--quiet` ask for 1.

Concurrency: one thread; nothing is written but standard output.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from vfsd.cli.progress import ProgressBar
from vfsd.cli.trees import open_pair
from vfsd.control.transfer import Progress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.changes import Aspect, Change, compare, is_directory, within
from vfsd.snapshots.patch import Contents, kind_name, patch, shown_path, status_line
from vfsd.snapshots.quoting import harmless
from vfsd.snapshots.textdiff import Count
from vfsd.snapshots.view import Item, TreeView

EPILOG = """\
Status letters: A added, D deleted, M content changed, T type changed, P permissions, O owner,
X extended attributes, L hard links, U modification time (with --times). A letter stands for the
first of these that differs; the rest follows in parentheses.
"""

_BAR_COLUMNS = 40
_RED, _GREEN, _CYAN, _BOLD, _RESET = b"\x1b[31m", b"\x1b[32m", b"\x1b[36m", b"\x1b[1m", b"\x1b[m"
_LETTERS = tuple(b"%c" % ord(letter) for letter in "ADTMPOXLU")
_SEEN_STEP = 512


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd diff`."""
    given, limits = _arguments(arguments)
    with ExitStack() as stack:
        old, new = open_pair(stack, given.a, given.b)
        changes = within(_compare(old, new), map(os.fsencode, limits))
        if not given.times:
            changes = [change for change in changes if not _is_time_alone(change)]
        if not given.quiet:
            _show(given, changes, old, new)
    return ExitCode.FAILED if changes and (given.exit_code or given.quiet) else ExitCode.OK


def _arguments(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    # Not left to argparse: a path after the dashes must never become the second tree.
    limits: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, limits = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(
        prog="vfsd diff",
        usage="vfsd diff [options] A [B] [-- PATH...]",
        description="Show what differs between two snapshots or directories; a snapshot alone is"
        " compared with its base. What has a '/' or is a directory here is a directory.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A", help="a snapshot or a directory")
    parser.add_argument("b", metavar="B", nargs="?", help="another; the new state")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-p", "--patch", action="store_true", help="a patch alone, for git apply")
    form.add_argument("--stat", action="store_true", help="changed lines per file")
    form.add_argument("--name-status", action="store_true", help="letters and paths")
    form.add_argument("--name-only", action="store_true", help="paths")
    form.add_argument("--json", action="store_true", help="as a JSON array")
    parser.add_argument("-z", dest="zero", action="store_true", help="end names with NUL, unquoted")
    parser.add_argument("--times", action="store_true", help="files that differ in time alone, too")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 if they differ")
    parser.add_argument("-q", "--quiet", action="store_true", help="no output, only --exit-code")
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="default: auto, on a terminal and without NO_COLOR",
    )
    given = parser.parse_args(arguments)
    if given.zero and not (given.name_only or given.name_status):
        raise UserError("-z goes with --name-only or --name-status", ExitCode.USAGE)
    return given, limits


def _compare(old: TreeView, new: TreeView) -> list[Change]:
    with ProgressBar("comparing") as bar:
        callback = bar.callback
        if callback is None:
            return compare(old, new)
        show, looked_at = callback, 0

        def seen(path: bytes) -> None:
            nonlocal looked_at
            looked_at += 1
            if looked_at % _SEEN_STEP == 0:
                show(Progress(files=looked_at, files_total=None, size_bytes=0))

        return compare(old, new, seen)


def _is_time_alone(change: Change) -> bool:
    return change.aspects == Aspect.TIME


def _show(given: argparse.Namespace, changes: list[Change], old: TreeView, new: TreeView) -> None:
    terminal = sys.stdout.isatty()
    if given.json:
        rows = [_row(change, old, new) for change in changes]
        print(json.dumps(rows, indent=2))
        return
    if given.zero:
        lines: Iterable[bytes] = _zero_terminated(changes, letters=given.name_status)
    else:
        contents = Contents(old, new)
        if given.name_only:
            lines = (shown_path(change) + b"\n" for change in changes)
        elif given.name_status:
            lines = map(status_line, changes)
        elif given.stat:
            lines = _stat_lines(changes, contents)
        else:
            lines = _full(changes, contents, alone=given.patch)
        if terminal:
            lines = map(_tamed, lines)
        if _coloured(given.color, terminal):
            lines = map(_colour_of_status if given.name_status else _colour, lines)
    write = sys.stdout.buffer.write
    for line in lines:
        write(line)
    sys.stdout.buffer.flush()


def _full(changes: list[Change], contents: Contents, *, alone: bool) -> Iterator[bytes]:
    for position, change in enumerate(changes):
        text = patch(change, contents)
        if not alone:
            yield status_line(change)
            # The header repeats the line above; a mode that git knows stands in both.
            yield from text
            continue
        said = False
        for line in text:
            said = True
            yield line
        following = changes[position + 1].path if position + 1 < len(changes) else b""
        if not said and not _shows_by_itself(change, following):
            yield b"# " + status_line(change)


def _shows_by_itself(change: Change, following: bytes) -> bool:
    """Say whether a directory is seen to come or go by what is in it."""
    one_side = change.new if change.old is None else change.old if change.new is None else None
    return is_directory(one_side) and following.startswith(change.path + b"/")


def _zero_terminated(changes: list[Change], *, letters: bool) -> Iterator[bytes]:
    for change in changes:
        if letters:
            yield change.letter.encode() + b"\0"
        yield change.path + b"\0"


def _stat_lines(changes: list[Change], contents: Contents) -> Iterator[bytes]:
    rows: list[tuple[bytes, Count | None, Change]] = [
        (shown_path(change), contents.count(change), change)
        for change in changes
        if not is_directory(change.new or change.old)
    ]
    if not rows:
        return
    width = max(len(path.decode()) for path, _, _ in rows)
    most = max((count.added + count.removed for _, count, _ in rows if count), default=0)
    scale = min(1.0, _BAR_COLUMNS / most) if most else 1.0
    added = removed = 0
    for path, count, change in rows:
        name = path.decode().ljust(width)
        if count is None:
            before = change.old.stat.size if change.old else 0
            after = change.new.stat.size if change.new else 0
            yield f" {name} | Bin {before} -> {after} bytes\n".encode()
            continue
        added, removed = added + count.added, removed + count.removed
        plus, minus = (
            max(1, int(number * scale)) if number else 0 for number in (count.added, count.removed)
        )
        total = count.added + count.removed
        bar = ("+" * plus + "-" * minus) or f"({change.letter})"
        yield f" {name} | {total:>5} {bar}\n".encode()
    files = "1 file" if len(rows) == 1 else f"{len(rows)} files"
    yield f" {files} changed, {added} insertions(+), {removed} deletions(-)\n".encode()


def _coloured(wish: str, terminal: bool) -> bool:
    if wish != "auto":
        return wish == "always"
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _tamed(line: bytes) -> bytes:
    """Keep a file's content from steering the terminal."""
    return harmless(line[:-1]) + b"\n"


def _colour(line: bytes) -> bytes:
    code = b""
    if line.startswith((b"diff --git", b"+++ ", b"--- ")):
        code = _BOLD
    elif line.startswith(b"@@"):
        code = _CYAN
    elif line.startswith(b"+"):
        code = _GREEN
    elif line.startswith(b"-"):
        code = _RED
    else:
        return _colour_of_status(line)
    return code + line[:-1] + _RESET + b"\n"


def _colour_of_status(line: bytes) -> bytes:
    if line[:1] not in _LETTERS or line[1:2] != b"\t":
        return line
    code = {b"A": _GREEN, b"D": _RED}.get(line[:1], _CYAN)
    return code + line[:-1] + _RESET + b"\n"


# -- JSON -----------------------------------------------------------------------------------


def _row(change: Change, old: TreeView, new: TreeView) -> dict[str, object]:
    row: dict[str, object] = {"status": change.letter, **exact("path", change.path)}
    if change.aspects:
        row["aspects"] = [aspect.name.lower() for aspect in change.aspects if aspect.name]
    if change.link_to is not None:
        row |= exact("link_to", change.link_to)
    row["old"] = _side(old, change.path, change.old)
    row["new"] = _side(new, change.path, change.new)
    return row


def _side(view: TreeView, path: bytes, item: Item | None) -> dict[str, object] | None:
    if item is None:
        return None
    stat = item.stat
    kind = kind_name(item)
    side: dict[str, object] = {
        "type": kind,
        "mode": f"{stat.mode & 0o7777:04o}",
        "uid": stat.uid,
        "gid": stat.gid,
        "mtime_ns": stat.mtime_ns,
    }
    if kind == "file":
        side["size"] = stat.size
    elif kind == "symlink":
        side |= exact("target", view.readlink(path))
    elif kind.endswith("device"):
        side["device"] = [os.major(stat.rdev), os.minor(stat.rdev)]
    return side


def exact(key: str, raw: bytes) -> dict[str, str]:
    """Return the text under `key`; where that loses something, the bytes in base64 beside it."""
    try:
        return {key: raw.decode()}
    except UnicodeDecodeError:
        exact = base64.b64encode(raw).decode()
        return {key: raw.decode(errors="replace"), f"{key}_base64": exact}
