"""`vfsd snapshot create`: freeze a tree that is in use, and store it or keep it in the daemon.

What it is *not*: listing, showing, removing (snapshot.py), forking (fork.py).

Concurrency: blocking; while a snapshot is stored, only this command waits for it.
"""

from __future__ import annotations

import argparse
import os
import sys

from vfsd.cli.attach import explained
from vfsd.cli.paths import Connections
from vfsd.cli.progress import ProgressBar
from vfsd.client import Client
from vfsd.control.transfer import Progress
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.store import Store


def create(arguments: list[str]) -> int:
    """Run `vfsd snapshot create`."""
    parser = argparse.ArgumentParser(
        prog="vfsd snapshot create",
        description="Freeze what is attached at PATH, at this instant, while it is in use.",
    )
    parser.add_argument("name", help="what it is called from now on")
    parser.add_argument(
        "path",
        nargs="?",
        help="where the tree is attached; by default, the one that holds the current directory",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="keep it in the daemon's memory only: it costs nothing, and ends with the daemon",
    )
    parser.add_argument("--replace", action="store_true", help="take the name from another one")
    given = parser.parse_args(arguments)
    path = os.curdir if given.path is None else given.path
    with Connections() as connections:
        client, place = connections.locate(path)
        prefixes = _prefixes(client)
        if given.path is None:
            place = _holder(place, prefixes)
        try:
            if given.live:
                client.snapshots.create(given.name, place, replace=given.replace)
            else:
                _store(client, given.name, place, replace=given.replace)
        except OSError as error:
            raise explained(error, path, place) from error
    left_out = [each for each in prefixes if _stands_below(each, place.strip(b"/"))]
    if left_out:
        shown = ", ".join(os.fsdecode(each) for each in left_out)
        print(f"vfsd: what is attached below is not in it: {shown}", file=sys.stderr)
    return ExitCode.OK


def _store(client: Client, name: str, place: bytes, *, replace: bool) -> None:
    with ProgressBar("storing") as bar:
        show = bar.callback

        def progress(files: int, size_bytes: int) -> None:
            if show is not None:
                show(Progress(files, size_bytes))

        stored = client.snapshots.store(name, place, replace=replace, progress=progress)
    ours = Store().place.root
    if stored.store != ours:
        print(
            f"vfsd: it is in the daemon's store, {stored.store}, and not in {ours};"
            " set XDG_STATE_HOME as the daemon has it to see it here",
            file=sys.stderr,
        )


def _prefixes(client: Client) -> list[bytes]:
    """Return where something is attached, relative to the mountpoint."""
    attachments = client.status().get("attachments", ())
    return [os.fsencode(each["prefix"]) for each in attachments]


def _holder(place: bytes, prefixes: list[bytes]) -> bytes:
    """Return the prefix of the tree that holds `place`: the longest one that it is in."""
    inside = place.strip(b"/")
    holders = [each for each in prefixes if each in (b"", inside) or _stands_below(inside, each)]
    return b"/" + max(holders, key=len)


def _stands_below(prefix: bytes, above: bytes) -> bool:
    return prefix != above and (not above or prefix.startswith(above + b"/"))
