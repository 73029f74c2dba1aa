"""`vfsd snapshot export` and `vfsd snapshot import`: layers and images that other tools read.

Concurrency: one thread; the exported snapshot is leased.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack

from vfsd.cli.progress import ProgressBar
from vfsd.cli.trees import lease, refuse_damaged
from vfsd.control.transfer import Progress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.exporting import Form, export
from vfsd.snapshots.names import without_mark
from vfsd.snapshots.ociimport import LIMIT_BYTES, Import
from vfsd.snapshots.quoting import shown
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store
from vfsd.snapshots.tarstream import Compression

LISTED_MAX = 20

_COMPRESSIONS = {"none": Compression.NONE, **{each.value: each for each in Compression}}
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def export_named(arguments: list[str]) -> int:
    """Run `vfsd snapshot export`."""
    parser = argparse.ArgumentParser(
        prog="vfsd snapshot export",
        description="Write a snapshot as a tar archive of its whole tree (.tar, .tar.gz, .tar.zst"
        " by the name), or as an OCI image. The same snapshot gives the same bytes.",
    )
    parser.add_argument("name", type=without_mark, metavar="NAME", help="a snapshot")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="where to; '-' is standard output"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--changes",
        dest="form",
        action="store_const",
        const=Form.CHANGES,
        default=Form.TREE,
        help="only what differs from the base, as a layer with whiteouts",
    )
    form.add_argument(
        "--layers",
        dest="form",
        action="store_const",
        const=Form.IMAGE,
        help="an OCI image layout of all layers: a directory, or an archive if FILE ends in .tar",
    )
    parser.add_argument(
        "--compress",
        choices=("none", "gzip", "zstd"),
        help="of the archive, or of an image's layers; default: by the name, gzip for layers",
    )
    parser.add_argument(
        "--no-verify",
        dest="verify",
        action="store_false",
        help="do not compare the layers with their digests first",
    )
    given = parser.parse_args(arguments)
    if given.output == "-" and sys.stdout.isatty():
        raise UserError("an archive is no text for a terminal; use -o FILE", ExitCode.USAGE)
    with ExitStack() as stack:
        held = lease(stack, given.name)
        if given.verify:
            refuse_damaged(held)
        bar = stack.enter_context(ProgressBar("exporting"))
        compression = None if given.compress is None else _COMPRESSIONS[given.compress]
        left_out = export(held, given.output, given.form, compression, _told(bar))
    _tell("left out, as tar has no form for sockets:", [(path, "") for path in left_out])
    return ExitCode.OK


def import_file(arguments: list[str]) -> int:
    """Run `vfsd snapshot import`."""
    parser = argparse.ArgumentParser(
        prog="vfsd snapshot import",
        description="Make a snapshot of a tar archive, of an OCI image layout (a directory or an"
        " archive), or of what 'docker save' wrote.",
    )
    parser.add_argument("file", metavar="FILE", help="what to import; '-' is standard input")
    parser.add_argument("name", metavar="NAME", help="what to call the snapshot")
    parser.add_argument(
        "--base", metavar="DIR", help="it holds only what differs from this directory"
    )
    parser.add_argument("--image", metavar="REF", help="which one, if the file holds several")
    parser.add_argument("--replace", action="store_true", help="in the place of one of that name")
    parser.add_argument(
        "--limit",
        metavar="SIZE",
        default=str(LIMIT_BYTES),
        help="the most that it may expand to, as 20G (default: 64G)",
    )
    given = parser.parse_args(arguments)
    store = Store()
    with ProgressBar("importing") as bar:
        work = Import(
            store,
            limit_bytes=_size(given.limit),
            reference=given.image,
            told=_told(bar),
        )
        work.run(given.file, given.name, base=given.base, replace=given.replace)
        settle(store, given.name)
    _tell("left out:", work.left_out)
    _tell("not permitted here:", work.incomplete)
    return ExitCode.OK


def _told(bar: ProgressBar) -> Callable[[int, int], None] | None:
    show = bar.callback
    if show is None:
        return None
    files = size_bytes = 0

    def told(more_files: int, more_bytes: int) -> None:
        nonlocal files, size_bytes
        files, size_bytes = files + more_files, size_bytes + more_bytes
        if show is not None:
            show(Progress(files, size_bytes))

    return told


def _size(text: str) -> int:
    number = text[:-1] if text[-1:].upper() in _UNITS and text[-1:] else text
    if not number.isdecimal() or not number.isascii():
        raise UserError(f"{text!r} is no size; write 500M or 20G", ExitCode.USAGE)
    return int(number) * _UNITS[text[len(number) :].upper()]


def _tell(head: str, rows: list[tuple[bytes, str]]) -> None:
    if not rows:
        return
    print(f"vfsd: {head}", file=sys.stderr)
    for path, what in rows[:LISTED_MAX]:
        print(f"  {shown(path or b'.')}" + (f": {what}" if what else ""), file=sys.stderr)
    if len(rows) > LISTED_MAX:
        print(f"  ... and {len(rows) - LISTED_MAX} more", file=sys.stderr)
