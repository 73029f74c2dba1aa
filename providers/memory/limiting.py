"""Changing the quotas of a tree that is in use.

What it is *not*: holding to them (version.py).

Concurrency: one step.

Source: tmpfs(5), "remount", which refuses less than what is there as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.memory.options import parse_options
from providers.memory.version import Version
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


def limit(version: Version, options: Mapping[str, str]) -> None:
    """Take the quotas in `options`, none for what is not there. UserError (FULL) if too low."""
    wanted = {key: options[key] for key in ("size", "inodes") if key in options}
    parsed = parse_options(None, wanted)
    files = version.records.count
    if parsed.size_bytes is not None and parsed.size_bytes < version.used_bytes:
        raise _refusal("size", wanted["size"], f"{version.used_bytes} bytes")
    if parsed.inodes is not None and parsed.inodes < files:
        raise _refusal("inodes", wanted["inodes"], f"{files} files")
    version.set_limits(parsed.size_bytes, parsed.inodes)


def _refusal(key: str, value: str, there: str) -> UserError:
    return UserError(
        f"{key}={value} is less than the {there} that are there; remove some first", ExitCode.FULL
    )
