"""`vfsd snapshot ls` and `vfsd snapshot show`: what is kept, in the store and in daemons.

Concurrency: blocking calls. What changes meanwhile is told as it was seen.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.kept import Snapshot, boot
from vfsd.snapshots.locking import hold_if_free, locked
from vfsd.snapshots.names import without_mark
from vfsd.snapshots.quoting import harmless
from vfsd.snapshots.refusals import Damaged, NotFound
from vfsd.snapshots.sizes import layer_totals, own_layers, total_bytes
from vfsd.snapshots.store import Store, snapshots
from vfsd.snapshots.usage import users

COMMAND_SHOWN_CHARACTERS = 60
_UNITS = ("B", "K", "M", "G", "T", "P")


def list_all(arguments: list[str]) -> int:
    """Run `vfsd snapshot ls`."""
    parser = argparse.ArgumentParser(
        prog="vfsd snapshot ls",
        description="List snapshots: those in the store, and live ones in daemons. SIZE is what"
        " no other snapshot holds as well.",
    )
    parser.add_argument("--json", action="store_true", help="as a JSON array")
    given = parser.parse_args(arguments)
    found = [*_stored(Store()), *_live()]
    if given.json:
        print(json.dumps(found, indent=2))
    elif found:
        _print_table(found)
    else:
        print("there are no snapshots; 'vfsd run --save NAME -- CMD' makes one", file=sys.stderr)
    return ExitCode.OK


def show(arguments: list[str]) -> int:
    """Run `vfsd snapshot show`."""
    parser = argparse.ArgumentParser(
        prog="vfsd snapshot show", description="Tell all about a snapshot."
    )
    parser.add_argument("name", type=without_mark, help="its name")
    parser.add_argument("--json", action="store_true", help="as a JSON object")
    given = parser.parse_args(arguments)
    store = Store()
    try:
        told = _told(store, store.snapshot(given.name))
    except NotFound:
        live = next((each for each in _live() if each["name"] == given.name), None)
        if live is None:
            raise
        told = live
    print(json.dumps(told, indent=2) if given.json else _text(told))
    return ExitCode.OK


def _stored(store: Store) -> Iterator[dict[str, Any]]:
    everything = list(snapshots(store))
    own = own_layers(each for each in everything if isinstance(each, Snapshot))
    for each in everything:
        if isinstance(each, Snapshot):
            yield _row(store, each, own[each.name])
        else:
            yield {"name": each[0], "kind": "stored", "state": "damaged", "detail": each[1].message}


def _row(store: Store, snapshot: Snapshot, own: Sequence[str]) -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "kind": "stored",
        "state": _state(snapshot),
        "size_bytes": total_bytes(store, own),
        "created_ns": snapshot.created_ns,
        "parent": snapshot.parent,
        "base": None if snapshot.base is None else os.fsdecode(snapshot.base),
        "layers": len(snapshot.chain),
        "command": [os.fsdecode(word) for word in snapshot.command],
    }


def _state(snapshot: Snapshot) -> str:
    if snapshot.settled:
        return "durable"
    return "not yet on disk" if snapshot.boot == boot() else "doubtful"


def _told(store: Store, snapshot: Snapshot) -> dict[str, Any]:
    known = [each for each in snapshots(store) if isinstance(each, Snapshot)]
    used = users(each.chain for each in known)
    row = _row(store, snapshot, own_layers(known).get(snapshot.name, ()))
    # Not while somebody removes it: who looks must not pass for a fork.
    with locked(store.place.lock, exclusive=False):
        lease = hold_if_free(store.place.lease(snapshot.name))
        if lease is not None:
            os.close(lease)
    row["total_bytes"] = total_bytes(store, snapshot.chain)
    row["base_exists"] = snapshot.base is not None and os.path.isdir(snapshot.base)
    row["in_use"] = lease is None
    row["chain"] = [_layer(store, layer, used[layer]) for layer in snapshot.chain]
    return row


def _layer(store: Store, layer: str, used: int) -> dict[str, Any]:
    try:
        kept = store.layer(layer)
        totals = layer_totals(store, layer)
    except (Damaged, OSError) as error:
        return {"id": layer, "state": "damaged", "detail": str(error)}
    return {
        "id": layer,
        "kind": kept.kind,
        "state": "durable" if store.is_settled(layer) else "not yet on disk",
        "size_bytes": totals.size_bytes,
        "files": totals.files if kept.kind == "dir" else None,
        "snapshots": used,
        "path": store.place.layer(layer),
    }


def _live() -> Iterator[dict[str, Any]]:
    """Ask this user's daemons; one that does not answer is passed over."""
    from vfsd import runtime

    sockets = runtime.sockets()
    if not sockets:
        return
    from vfsd.client import Client

    for path in sockets:
        try:
            with Client(runtime.Served(path, b"", b"", os.geteuid()), 5.0) as client:
                mountpoint = os.fsdecode(client.greeting.mountpoint)
                for info in client.snapshots.list():
                    yield {
                        "name": info.name,
                        "kind": "live",
                        "state": "in memory",
                        "size_bytes": info.size_bytes,
                        "created_ns": info.created_ns,
                        "parent": info.parent,
                        "mountpoint": mountpoint,
                        "command": [],
                    }
        except (OSError, UserError):
            continue


def _print_table(found: list[dict[str, Any]]) -> None:
    rows = [("NAME", "SIZE", "AGE", "PARENT", "FROM")]
    for each in found:
        if "detail" in each:
            rows.append((each["name"], "?", "?", "", f"({each['state']}: {each['detail']})"))
            continue
        rows.append(
            (
                each["name"],
                size_text(each["size_bytes"]),
                age_text(each["created_ns"]),
                each["parent"] or "-",
                _origin(each),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        name, size, age, parent, origin = row
        line = (
            f"{name:<{widths[0]}}  {size:>{widths[1]}}  {age:>{widths[2]}}"
            f"  {parent:<{widths[3]}}  {origin}"
        )
        print(line.rstrip())


def _origin(row: dict[str, Any]) -> str:
    words = _safe(shlex.join(row["command"]))
    if len(words) > COMMAND_SHOWN_CHARACTERS:
        words = words[: COMMAND_SHOWN_CHARACTERS - 1] + "…"
    marks = [] if row["state"] == "durable" else [row["state"]]
    if row["kind"] == "live":
        marks = [f"live in {_safe(row['mountpoint'])}"]
    return " ".join([*([words] if words else []), *(f"({mark})" for mark in marks)])


def _text(told: dict[str, Any]) -> str:
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told["created_ns"] / 1e9))
    lines = [
        f"name:     {told['name']}",
        f"state:    {told['state']}{', in use' if told.get('in_use') else ''}",
        f"created:  {created} ({age_text(told['created_ns'])} ago)",
        f"command:  {_safe(shlex.join(told['command'])) or '-'}",
        f"parent:   {told['parent'] or '-'}",
    ]
    if told["kind"] == "live":
        lines.append(f"daemon:   {_safe(told['mountpoint'])}")
        lines.append(f"size:     {size_text(told['size_bytes'])}")
        return "\n".join(lines)
    base = "none: the layers are a whole tree"
    if told["base"] is not None:
        gone = "" if told["base_exists"] else " (which is not there)"
        base = f"{_safe(told['base'])}{gone}"
    lines += [
        f"base:     {base}",
        f"size:     {size_text(told['size_bytes'])} of its own,"
        f" {size_text(told['total_bytes'])} with what it shares",
        "layers, top first:",
    ]
    for layer in told["chain"]:
        if "detail" in layer:
            lines.append(f"  {layer['id']}  damaged: {layer['detail']}")
            continue
        files = "" if layer["files"] is None else f", {layer['files']} files"
        shared = layer["snapshots"] - 1
        more = f", shared with {shared} more" if shared else ""
        lines.append(
            f"  {layer['id']}  {layer['kind']}, {size_text(layer['size_bytes'])}{files}{more},"
            f" {layer['state']}"
        )
    return "\n".join(lines)


def size_text(size_bytes: int | None) -> str:
    """Return a size as `ls -h` shows it; ``?`` for None."""
    if size_bytes is None:
        return "?"
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{size:.1f}{unit}" if size < 10 and unit != "B" else f"{size:.0f}{unit}"
        size /= 1024
    raise AssertionError(size_bytes)


def age_text(created_ns: int) -> str:
    """Return how long ago that was, in the largest unit."""
    seconds = max(0, (time.time_ns() - created_ns) // 1_000_000_000)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _safe(text: str) -> str:
    return harmless(os.fsencode(text)).decode()
