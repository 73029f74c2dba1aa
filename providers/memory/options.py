"""The options of `-o key=value`: size=64M, inodes=100000, mode=0755, uid=, gid=.

Concurrency: pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant
from vfsd.optionvalues import decimal, scaled, within

_ID_MAX = (1 << 32) - 2
"""Largest uid or gid; the number above means "no change" to chown(2)."""
_LIMIT_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Options:
    """What the options said; None where they did not."""

    size_bytes: int | None = None
    inodes: int | None = None
    mode: int = 0o755
    uid: int | None = None
    gid: int | None = None


def parse_options(source: str | None, options: Mapping[str, str]) -> Options:
    """Read the options; `UserError` names the one that is wrong, and what is known."""
    if source is not None:
        raise _refusal(f"the memory provider takes no source, and {source!r} was given")
    values: dict[str, int] = {}
    for key, text in options.items():
        if key not in _PARSERS:
            known = ", ".join(_PARSERS)
            hint = meant(key, _PARSERS, f"it knows {known}")
            raise _refusal(f"the memory provider has no option {key!r}; {hint}")
        field, parse, example = _PARSERS[key]
        try:
            values[field] = parse(text.strip())
        except ValueError:
            raise _refusal(f"{key}={text} is not understood; write {example}") from None
    return Options(**values)


def _size(text: str) -> int:
    return within(scaled(text, "kmgt"), 1, _LIMIT_MAX)


def _inodes(text: str) -> int:
    return within(scaled(text, "km"), 1, _LIMIT_MAX)


def _mode(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    return within(int(text, 8), 0, 0o7777)


def _id(text: str) -> int:
    return within(decimal(text), 0, _ID_MAX)


def _refusal(message: str) -> UserError:
    return UserError(message, ExitCode.USAGE)


_PARSERS: dict[str, tuple[str, Callable[[str], int], str]] = {
    "size": ("size_bytes", _size, "a number of bytes such as size=64M (K, M, G or T)"),
    "inodes": ("inodes", _inodes, "a number of files such as inodes=100000"),
    "mode": ("mode", _mode, "an octal number such as mode=0755"),
    "uid": ("uid", _id, "a number such as uid=1000"),
    "gid": ("gid", _id, "a number such as gid=1000"),
}
