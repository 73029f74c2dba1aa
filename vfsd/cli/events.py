"""`vfsd events`: what changes in a mounted tree, as it happens.

A change is told by the number of its file or directory, as `stat` gives it through the socket,
with the name in that directory if an entry changed; a provider's files have numbers, not paths.
For an entry in an attachment's root directory the path follows, and is told.

What it is *not*: inotify, which sees what goes through the kernel only; here every door counts.

Concurrency: one connection, which waits.
"""

from __future__ import annotations

import argparse
import json
import os
import time

from vfsd.client import connect
from vfsd.contract import ROOT_NUMBER
from vfsd.control.replies import Event
from vfsd.exitcodes import ExitCode


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd events`."""
    parser = argparse.ArgumentParser(
        prog="vfsd events", description="Show what changes in a mounted tree, as it happens."
    )
    parser.add_argument(
        "path", nargs="?", default=".", help="a mount, or what is attached in one (default: here)"
    )
    parser.add_argument("-n", "--count", type=int, metavar="COUNT", help="end after so many")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each")
    given = parser.parse_args(arguments)
    left = given.count
    with connect(given.path) as client, client.watch() as changes:
        # Nothing is missed from here on: who starts this in a script may wait for the line.
        print("watching" if not given.json else json.dumps({"event": "watching"}), flush=True)
        while left is None or left > 0:
            event = next(changes)
            print(_json(event) if given.json else _text(event), flush=True)
            left = None if left is None else left - 1
    return ExitCode.OK


def _described(event: Event) -> dict[str, object]:
    prefix = "/" + os.fsdecode(event.prefix)
    told: dict[str, object] = {"event": _kind(event), "prefix": prefix, "node": event.node}
    if event.name is not None:
        name = os.fsdecode(event.name)
        told["name"] = name
        if event.node == ROOT_NUMBER:
            told["path"] = f"{prefix.rstrip('/')}/{name}"
    return told


def _kind(event: Event) -> str:
    if event.node is None:
        return "anything"
    if event.name is not None:
        return "entry"
    return "data" if event.data else "attributes"


def _json(event: Event) -> str:
    return json.dumps({**_described(event), "time_s": round(time.time(), 3)})


def _text(event: Event) -> str:
    told = _described(event)
    where = told.get("path")
    if where is None and event.name is not None:
        where = f"{told['name']} in {told['prefix']} directory {event.node}"
    elif where is None:
        where = str(told["prefix"]) + ("" if event.node is None else f" file {event.node}")
    line = str(where)
    if not line.isprintable():
        line = line.encode("unicode_escape", "surrogateescape").decode()
    return f"{time.strftime('%H:%M:%S')} {told['event']:<10} {line}"
