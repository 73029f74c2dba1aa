"""`vfsd attach` and `vfsd detach`: providers at prefixes of a mounted tree."""

from __future__ import annotations

import argparse
import os
import sys

from vfsd.cli.options import absolute, key_values
from vfsd.cli.paths import Connections
from vfsd.client import Attached
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd attach` or `vfsd detach`."""
    return _attach(arguments) if verb == "attach" else _detach(arguments)


def _attach(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd attach",
        description="Attach a provider below a mountpoint; missing directories are made.",
    )
    parser.add_argument("source", help="a provider's name, NAME:SOURCE, or a path on the host")
    parser.add_argument("prefix", help="where: a path below a vfsd mountpoint")
    parser.add_argument("--read-only", action="store_true", help="nothing can be changed by it")
    parser.add_argument(
        "--links",
        metavar="POLICY",
        help="for a directory: what is done with symlinks that lead out of it. deny (the default):"
        " reading one fails; hide: they are not there; keep: they are shown as they are;"
        " map=PREFIX: they are shown below the attached PREFIX that serves what they lead to;"
        " map=DIRECTORY:PREFIX[:DIRECTORY:PREFIX...]: what leads below DIRECTORY is shown below"
        " PREFIX. The same as -o links=...",
    )
    parser.add_argument(
        "-o",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an option of the provider, such as size=1G",
    )
    given = parser.parse_args(arguments)
    options = dict(key_values(given.options))
    if given.links is not None:
        options["links"] = given.links
    with Connections() as connections:
        client, place = connections.locate(given.prefix)
        check_below(place, given.prefix)
        try:
            attached = client.attach(
                absolute(given.source), place, options, read_only=given.read_only
            )
        except OSError as error:
            raise explained(error, given.prefix, place) from error
    tell_hidden(attached, given.prefix)
    return ExitCode.OK


def tell_hidden(attached: Attached, prefix: str) -> None:
    """Tell of files that stood at the prefix before, if there are any."""
    if attached.hides:
        print(f"vfsd: files that were in {prefix} are hidden until it is detached", file=sys.stderr)


def _detach(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd detach", description="Take an attached provider away."
    )
    parser.add_argument("prefix", help="where it is attached")
    parser.add_argument(
        "--lazy",
        action="store_true",
        help="also while files in it are open, which stay usable, or others stand below",
    )
    given = parser.parse_args(arguments)
    with Connections() as connections:
        client, place = connections.locate(given.prefix)
        check_below(place, given.prefix)
        try:
            client.detach(place, lazy=given.lazy)
        except OSError as error:
            raise explained(error, given.prefix, place) from error
    return ExitCode.OK


def check_below(place: bytes, prefix: str) -> None:
    """Refuse a prefix that is the mountpoint itself. UserError."""
    if not place.strip(b"/"):
        raise UserError(
            f"{prefix} is the mountpoint itself; name a directory below it", ExitCode.USAGE
        )


def explained(error: OSError, prefix: str, place: bytes) -> Exception:
    """Return what to tell: about the prefix as it was typed, with what helps."""
    import errno

    sentences = {
        errno.EBUSY: "is busy: something is attached there or below, or files in it are open;"
        " 'vfsd status' shows what, and 'vfsd detach --lazy' does not wait",
        errno.EINVAL: "is not where something is attached; 'vfsd status' lists what is",
    }
    named = os.fsencode(error.filename or "").strip(b"/")
    if error.errno in sentences and named in (b"", place.strip(b"/")):
        code = ExitCode.REFUSED if error.errno == errno.EBUSY else ExitCode.NOT_FOUND
        return UserError(f"{prefix} {sentences[error.errno]}", code)
    if error.filename is None:
        error.filename = prefix
    return error
