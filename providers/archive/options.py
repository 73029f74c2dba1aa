"""The options of `-o key=value`: owner=.

Concurrency: no state.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant

KNOWN = ("owner",)


@dataclass(frozen=True, slots=True)
class Options:
    """What the options said: whom all files belong to, if not to whom the archive says."""

    owner: tuple[int, int] | None = None


def parse_options(options: Mapping[str, str]) -> Options:
    """Read the options; `UserError` names the one that is wrong, and what is known."""
    for key in options:
        if key not in KNOWN:
            raise UserError(
                f"the archive provider has no option {key!r}; "
                + meant(key, KNOWN, f"it knows {', '.join(KNOWN)}"),
                ExitCode.USAGE,
            )
    owner = options.get("owner", "stored")
    if owner == "stored":
        return Options()
    if owner == "me":
        return Options((os.getuid(), os.getgid()))
    uid, separator, gid = owner.partition(":")
    if not (uid.isdecimal() and separator and gid.isdecimal() and _fits(uid) and _fits(gid)):
        raise UserError(
            f"owner={owner} is not understood; write owner=stored, owner=me or owner=UID:GID",
            ExitCode.USAGE,
        )
    return Options((int(uid), int(gid)))


def _fits(number: str) -> bool:
    return len(number) <= 10 and int(number) < 2**32 - 1
