"""`vfsd fork`: attach a writable tree that begins as a snapshot, or as what is attached, is now."""

from __future__ import annotations

import argparse

from vfsd.cli.attach import check_below, explained, tell_hidden
from vfsd.cli.paths import Connections
from vfsd.client import Attached, Client
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.names import is_name, without_mark


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd fork`."""
    parser = argparse.ArgumentParser(
        prog="vfsd fork",
        description="Attach a writable tree that begins as a snapshot does, or as an attached tree"
        " is now. Neither sees what the other writes from then on.",
    )
    parser.add_argument(
        "source",
        metavar="NAME|PATH",
        help="a snapshot's name, or where something is attached, with a / in it (./tree)",
    )
    parser.add_argument("prefix", help="where: a path below a vfsd mountpoint")
    given = parser.parse_args(arguments)
    with Connections() as connections:
        client, place = connections.locate(given.prefix)
        check_below(place, given.prefix)
        try:
            attached = _fork(connections, client, given.source, place)
        except OSError as error:
            raise explained(error, given.prefix, place) from error
    tell_hidden(attached, given.prefix)
    return ExitCode.OK


def _fork(connections: Connections, client: Client, source: str, place: bytes) -> Attached:
    name = without_mark(source)
    if is_name(name):
        return client.snapshots.fork(name, place)
    holder, tree = connections.locate(source)
    if holder is not client:
        raise UserError(
            f"{source} lies in another mount; fork it there, or store a snapshot and fork that",
            ExitCode.USAGE,
        )
    try:
        return client.fork(tree, place)
    except OSError as error:
        raise explained(error, source, tree) from error
