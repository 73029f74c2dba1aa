"""`vfsd pack`: a directory, a tar, a zip or a snapshot as one archive file.

Concurrency: one thread that reads and writes; compression has threads of its own.
"""

from __future__ import annotations

import argparse
import os
import shlex
import stat as stat_module
from contextlib import ExitStack
from typing import NamedTuple

from vfsd.archive import appending
from vfsd.archive.compression import LEVELS
from vfsd.archive.damage import Changed, Damage
from vfsd.archive.opened import is_archive, open_tree
from vfsd.archive.outfile import OutFile
from vfsd.archive.source import open_regular
from vfsd.archive.writer import ArchiveWriter
from vfsd.cli import trees
from vfsd.cli.progress import ProgressBar
from vfsd.control.transfer import Progress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.packed import PackedView
from vfsd.snapshots.packing import pack_view
from vfsd.snapshots.selection import Selection
from vfsd.snapshots.view import TreeView

STUB = """\
#!/bin/sh
# A tree of files in a vfsd archive, which begins after this script, and a command to run on it:
# the files are mounted at /sea, for this command alone, in a sandbox.
if [ -n "${{VFSD-}}" ]; then
    vfsd=$VFSD
    command -v "$vfsd" >/dev/null || {{
        echo "$0: VFSD names $vfsd, which cannot be run; mend it, or unset it" >&2
        exit 125
    }}
else
    for vfsd in vfsd "${{HOME-}}/.local/bin/vfsd" /usr/local/bin/vfsd ""; do
        command -v "$vfsd" >/dev/null && break
    done
fi
[ -n "$vfsd" ] || {{
    echo "$0: needs vfsd, which is neither on PATH nor in ~/.local/bin or /usr/local/bin;" \
        "install it, or name it in VFSD" >&2
    exit 125
}}
exec "$vfsd" run --quiet --base "$0" --at /sea {options}-- {words} "$@"
exit 125
"""


class Packed(NamedTuple):
    """What was packed."""

    files: int
    content_bytes: int
    archive_bytes: int


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd pack`."""
    given = _parser().parse_args(arguments)
    _check(given)
    output = given.output or given.append_to
    try:
        with ExitStack() as stack:
            view = _source(stack, given, output)
            packed = _written(stack, given, view, output)
    except Damage as damage:
        raise damage.user_error(given.source) from damage
    except Changed:
        raise UserError(f"{given.source} was changed while it was read") from None
    if not given.quiet:
        print(
            f"{output}: {packed.files} files, {packed.content_bytes} bytes in "
            f"{packed.archive_bytes}"
        )
    return ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vfsd pack",
        description="Make an archive of a directory, a tar, a zip, another archive, or a "
        "snapshot. The same input gives the same bytes. Patterns are those of .gitignore.",
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a directory, an archive file, or a snapshot's name")
    add("-o", "--output", metavar="FILE", help="where to; replaced in one step, if it is there")
    add("--include", metavar="PATTERN", action="append", default=[], help="only what matches")
    add("--exclude", metavar="PATTERN", action="append", default=[], help="not what matches")
    add(
        *("--exclude-from",),
        metavar="FILE",
        action="append",
        default=[],
        help="not what matches a pattern in FILE, such as a .gitignore",
    )
    add(
        *("--compress",),
        metavar="METHOD[:LEVEL]",
        default="zstd",
        help="zstd (the default), zlib, xz or none; what does not get smaller is stored as it is",
    )
    add("--owner", metavar="UID:GID", help="whom all files belong to, instead of as they do")
    add(
        *("--append-to",),
        metavar="EXECUTABLE",
        help="put the archive behind a program, which still runs (with -o: behind a copy of it)",
    )
    add(
        *("--executable",),
        action="store_true",
        help="make a program that runs --entry on the tree, with the vfsd that it finds: by the "
        "variable VFSD, on PATH, in ~/.local/bin or /usr/local/bin",
    )
    add("--entry", metavar="CMD", help="the command, found in the tree, which is at /sea, or /usr")
    add("--run-options", metavar="OPTIONS", default="", help="of 'vfsd run', for the command")
    add("--quiet", action="store_true", help="say nothing")
    return parser


def _check(given: argparse.Namespace) -> None:
    wrong = None
    if given.output is None and given.append_to is None:
        wrong = "where to is not told; give -o FILE (or --append-to EXECUTABLE)"
    elif given.executable and given.append_to:
        wrong = "--executable makes a program, --append-to takes one; give one of them"
    elif given.executable and not given.entry:
        wrong = "--executable needs --entry CMD, the command to run"
    elif given.entry and not given.executable:
        wrong = "--entry is for --executable"
    if wrong:
        raise UserError(wrong, ExitCode.USAGE)


# -- what is packed -----------------------------------------------------------------------


def _source(stack: ExitStack, given: argparse.Namespace, output: str) -> TreeView:
    view: TreeView
    if os.path.isfile(given.source):
        if not is_archive(given.source):
            raise UserError(
                f"{given.source} is neither a directory nor an archive that vfsd knows",
                ExitCode.USAGE,
            )
        packed = PackedView(open_tree(given.source))
        view = stack.enter_context(packed)
    elif os.path.lexists(given.source) or "/" in given.source:
        view = trees.open_tree(stack, os.path.join(given.source, ""))
    else:
        view = trees.open_tree(stack, given.source)
    exclude = [*given.exclude]
    for name in given.exclude_from:
        with open(name, encoding="utf-8", errors="surrogateescape") as lines:
            exclude += lines.read().splitlines()
    try:
        return Selection(
            view,
            include=given.include,
            exclude=exclude,
            without=_identity(output),
            owner=_owner(given.owner),
            latest_s=_epoch(),
        )
    except ValueError as error:
        raise UserError(f"a pattern is not understood: {error}", ExitCode.USAGE) from error


def _identity(path: str) -> tuple[int, int] | None:
    """Return what tells the output, should it lie in the directory that is packed."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _owner(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    uid, separator, gid = text.partition(":")
    numbers = uid.isdecimal() and gid.isdecimal() and max(len(uid), len(gid)) <= 10
    if not (numbers and separator and max(int(uid), int(gid)) < 2**32 - 1):
        raise UserError(f"--owner {text} is not understood; write UID:GID", ExitCode.USAGE)
    return int(uid), int(gid)


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    if not (text.isdecimal() and len(text) <= 18):
        raise UserError(
            f"SOURCE_DATE_EPOCH={text} is not a number of seconds; unset or mend it",
            ExitCode.USAGE,
        )
    return int(text)


# -- where it goes ------------------------------------------------------------------------


def _written(stack: ExitStack, given: argparse.Namespace, view: TreeView, output: str) -> Packed:
    carrier, source, mode = None, -1, 0o666
    if given.append_to is not None:
        source = open_regular(given.append_to)
        stack.callback(os.close, source)
        carrier = appending.examine(source, given.append_to)
        mode = stat_module.S_IMODE(os.fstat(source).st_mode)
    elif given.executable:
        mode = 0o777
    with OutFile(output, mode) as out:
        start = 0
        if carrier is not None:
            start = appending.copy_head(source, out.fd, carrier)
            os.fchmod(out.fd, mode)
        elif given.executable:
            start = appending.write_head(out.fd, _stub(given))
        packed = _archive(given, view, out.fd, start)
        if carrier is not None:
            appending.finish(out.fd, carrier, start, packed.archive_bytes)
        out.commit()
    return packed


def _archive(given: argparse.Namespace, view: TreeView, fd: int, start: int) -> Packed:
    method, level = _method(given.compress)
    with (
        ProgressBar("packing") as bar,
        ArchiveWriter(
            fd, start, compression=method, level=level, created_s=_epoch() or 0
        ) as writer,
    ):
        show = None if given.quiet else bar.callback
        told = None if show is None else lambda files, size: show(Progress(files, size))
        files, content_bytes = pack_view(view, writer, told)
        return Packed(files, content_bytes, writer.finish())


def _method(text: str) -> tuple[str, int | None]:
    method, separator, level = text.partition(":")
    limits = {"zstd": 22, "zlib": 9, "xz": 9, "none": -1}
    if method not in LEVELS or (
        separator and not (level.isdecimal() and int(level) <= limits[method])
    ):
        raise UserError(
            f"--compress {text} is not understood; write zstd, zlib, xz or none, and a level as in "
            "zstd:19",
            ExitCode.USAGE,
        )
    return method, int(level) if separator else None


def _stub(given: argparse.Namespace) -> bytes:
    try:
        words, options = shlex.split(given.entry), shlex.split(given.run_options)
    except ValueError as error:
        raise UserError(f"--entry or --run-options cannot be split: {error}") from error
    if not words:
        raise UserError("--entry names no command", ExitCode.USAGE)
    text = STUB.format(
        options="".join(f"{shlex.quote(each)} " for each in options), words=shlex.join(words)
    )
    return os.fsencode(text)
