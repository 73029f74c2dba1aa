"""`vfsd tree`: what is attached where, as findmnt(8) shows mounts.

What it is *not*: counters and times (`vfsd status`).

Concurrency: one request per mount.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from vfsd import runtime
from vfsd.cli.status import ask, everything
from vfsd.exitcodes import ExitCode


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd tree`."""
    parser = argparse.ArgumentParser(
        prog="vfsd tree", description="Show what is attached where, in every mount."
    )
    parser.add_argument("path", nargs="?", help="only the mount that holds this path")
    parser.add_argument("--json", action="store_true", help="as a JSON array")
    given = parser.parse_args(arguments)
    found = [ask(runtime.find(given.path))] if given.path else everything()
    mounts = [_nested(status) for status in found]
    if given.json:
        print(json.dumps(mounts, indent=2))
    elif mounts:
        rows = [("TARGET", "MODE", "SERVES")]
        for mount in mounts:
            rows += _rows(mount, "", "")
        width = max(len(target) for target, _, _ in rows)
        for target, mode, serves in rows:
            print(f"{target:<{width}}  {mode:<4}  {serves}".rstrip())
    else:
        print("nothing is mounted; 'vfsd mount DIRECTORY' mounts", file=sys.stderr)
    return ExitCode.OK


def _nested(status: dict[str, Any]) -> dict[str, Any]:
    """Return the attachments of one mount, each below the one it stands on."""
    target = status["mountpoint"]
    if status["state"] != "alive":
        told = f"{status['state']}: {status['detail']}"
        return {"target": target, "mode": "-", "serves": told, "children": []}
    top: dict[str, Any] = {"target": target, "mode": "-", "serves": "", "children": []}
    nodes: dict[str, dict[str, Any]] = {}
    for each in sorted(status.get("attachments", ()), key=lambda each: str(each["prefix"])):
        prefix = each["prefix"]
        node = top if not prefix else {"target": f"/{prefix}", "children": []}
        node["mode"] = "ro" if each["read_only"] else "rw"
        node["serves"] = each["provider"]
        if prefix:
            _host(nodes, prefix, top)["children"].append(node)
            nodes[prefix] = node
    return top


def _host(nodes: dict[str, dict[str, Any]], prefix: str, top: dict[str, Any]) -> dict[str, Any]:
    while "/" in prefix:
        prefix = prefix.rpartition("/")[0]
        if prefix in nodes:
            return nodes[prefix]
    return top


def _rows(node: dict[str, Any], first: str, further: str) -> Iterator[tuple[str, str, str]]:
    target = node["target"].encode("unicode_escape").decode() if _odd(node["target"]) else None
    yield first + (target or node["target"]), node["mode"], node["serves"]
    children = node["children"]
    for position, child in enumerate(children):
        is_last = position == len(children) - 1
        yield from _rows(
            child, further + ("└─" if is_last else "├─"), further + ("  " if is_last else "│ ")
        )


def _odd(text: str) -> bool:
    """Say whether a name would not show as one line of what a terminal prints."""
    return not text.isprintable()
