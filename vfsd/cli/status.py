"""`vfsd status`: what is mounted, what is attached there, and mounts whose daemon is gone."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from vfsd import runtime
from vfsd.client import Client
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.runtime import Mount, Served

TIMEOUT_SECONDS = 5.0
"""A daemon that says nothing for so long is shown as one that does not answer."""

HEADLINE = ("version", "pid", "mountpoint", "uptime_s", "attachments", "state")


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd status`."""
    parser = argparse.ArgumentParser(
        prog="vfsd status", description="Show what is mounted and attached."
    )
    parser.add_argument("path", nargs="?", help="only the mount that holds this path")
    parser.add_argument("--json", action="store_true", help="as a JSON array")
    given = parser.parse_args(arguments)
    found = [ask(runtime.find(given.path))] if given.path else everything()
    if given.json:
        print(json.dumps(found, indent=2))
    elif found:
        print("\n".join(_text(each) for each in found))
    else:
        print("nothing is mounted; 'vfsd mount DIRECTORY' mounts", file=sys.stderr)
    return ExitCode.OK


def everything() -> list[dict[str, Any]]:
    """Return what is known of every mount, also of those whose daemon is gone."""
    mounts = runtime.mounts()
    found = [_look(mount) for mount in mounts]
    # A daemon of this user in another mount namespace has a socket and no mount here.
    known = {runtime.socket_path(mount.mountpoint) for mount in mounts}
    for path in runtime.sockets():
        if path not in known:
            found.append(ask(Served(path, b"", b"", os.geteuid())))
    return found


def _look(mount: Mount) -> dict[str, Any]:
    shown = os.fsdecode(mount.mountpoint)
    try:
        socket = runtime.socket_of(mount)
    except UserError as error:
        return {"mountpoint": shown, "state": "unknown", "detail": error.message}
    if socket is not None:
        return ask(Served(socket, mount.mountpoint, b"", mount.uid))
    if mount.uid != os.geteuid() and os.geteuid() != 0:
        return {"mountpoint": shown, "state": "unknown", "detail": f"of user {mount.uid}"}
    detail = f"no daemon answers for it; 'vfsd unmount {shown}' clears it"
    return {"mountpoint": shown, "state": "dead", "detail": detail}


def ask(served: Served) -> dict[str, Any]:
    """Return what a daemon says of itself, and that it is alive; or why that is not known."""
    shown = os.fsdecode(served.mountpoint)
    try:
        with Client(served, TIMEOUT_SECONDS) as client:
            shown = os.fsdecode(client.greeting.mountpoint)
            return {"mountpoint": shown, "state": "alive", **client.status()}
    except (OSError, UserError) as error:
        return {"mountpoint": shown, "state": "unknown", "detail": str(error)}


def _text(status: dict[str, Any]) -> str:
    if status["state"] != "alive":
        return f"{status['mountpoint']}  {status['state']}: {status['detail']}"
    lines = [
        f"{status['mountpoint']}  pid {status.get('pid')}, up {_time(status.get('uptime_s'))},"
        f" vfsd {status.get('version')}"
    ]
    for attachment in status.get("attachments", ()):
        prefix = "/" + attachment.get("prefix", "")
        mode = "ro" if attachment.get("read_only") else "rw"
        lines.append(f"  {prefix:<16} {mode}  {attachment.get('provider')}")
        more = _pairs(attachment, ("prefix", "provider", "read_only"))
        if more:
            lines.append(f"  {'':<16}     {more}")
    more = _pairs(status, HEADLINE)
    if more:
        lines.append(f"  {more}")
    return "\n".join(lines)


def _pairs(values: dict[str, Any], left_out: tuple[str, ...]) -> str:
    return ", ".join(
        f"{key} {value}"
        for key, value in values.items()
        if key not in left_out and isinstance(value, str | int | float)
    )


def _time(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
