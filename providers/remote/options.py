"""The options of `-o key=value`: cache=, block=, readahead=, ttl=, timeout=, calls=, fs.KEY=.

What begins with ``fs.`` is for the file system's driver, as fsspec calls it (a storage option):
``fs.anon=true``, ``fs.client_kwargs.endpoint_url=http://...``; for one further inside a chained
URL the protocol comes first, ``fs.s3.anon=true``. A value that is JSON is taken as that (true, 5,
null), any other as text.

Concurrency: pure functions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant
from vfsd.optionvalues import decimal, scaled, within

FOR_DRIVER = "fs."


@dataclass(frozen=True, slots=True)
class Options:
    """What the options said; sizes in bytes."""

    cache: int = 64 << 20
    """The most that blocks of files take in memory."""
    block: int = 256 << 10
    """What is asked for and kept at a time."""
    readahead: int = 8 << 20
    """The furthest that a file read in order is read ahead; 0 turns it off."""
    ttl_s: float = 60.0
    """How long names and attributes are kept before the file system is asked again."""
    timeout_s: float = 30.0
    """The longest that one call of the file system takes."""
    calls: int | None = None
    """How many run at a time; None: 16, or one where the driver is not made for more."""
    storage: Mapping[str, object] = field(default_factory=dict)
    """For the driver."""


def parse_options(options: Mapping[str, str]) -> Options:
    """Read the options; `UserError` names the one that is wrong, and what is known."""
    values: dict[str, object] = {}
    storage: dict[str, object] = {}
    for key, text in options.items():
        if key.startswith(FOR_DRIVER):
            _nest(storage, key, text)
            continue
        if key not in _PARSERS:
            known = ", ".join(f"{name}=" for name in _PARSERS)
            otherwise = f"it knows {known}, and fs.KEY= for what the file system itself understands"
            hint = meant(key, _PARSERS, otherwise)
            raise _refusal(f"the fsspec provider has no option {key!r}; {hint}")
        name, parse, example = _PARSERS[key]
        try:
            values[name] = parse(text.strip())
        except ValueError:
            raise _refusal(f"{key}={text} is not understood; write {example}") from None
    # Each was parsed to its own type.
    parsed = Options(**values, storage=storage)  # type: ignore[arg-type]
    if parsed.cache < 2 * parsed.block:
        raise _refusal(
            f"cache={parsed.cache} holds fewer than two blocks of {parsed.block} bytes; give a "
            "larger cache= or a smaller block="
        )
    return parsed


def _nest(storage: dict[str, object], key: str, text: str) -> None:
    *path, last = key[len(FOR_DRIVER) :].split(".")
    for name in path:
        inner = storage.setdefault(name, {})
        if not isinstance(inner, dict):
            raise _refusal(f"{FOR_DRIVER}{name} is given both as a value and with keys of its own")
        storage = inner
    if not last or not all(path):
        raise _refusal(f"the option {key!r} has an empty part; write fs.KEY=VALUE")
    try:
        storage[last] = json.loads(text)
    except ValueError:
        storage[last] = text


def _size(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        return within(scaled(text, "kmg"), least, most)

    return parse


def _seconds(text: str) -> float:
    if text == "forever":
        return math.inf
    whole, dot, part = text.partition(".")
    value = float(f"{decimal(whole)}{dot}{decimal(part) if dot else ''}")
    return value if value <= 1e9 else math.inf


def _timeout(text: str) -> float:
    seconds = _seconds(text)
    if not 0 < seconds <= 3600:
        raise ValueError(text)
    return seconds


def _count(text: str) -> int:
    return within(decimal(text), 1, 256)


def _refusal(message: str) -> UserError:
    return UserError(message, ExitCode.USAGE)


_PARSERS: dict[str, tuple[str, Callable[[str], object], str]] = {
    "cache": ("cache", _size(1, 1 << 40), "a number of bytes such as cache=64M (K, M or G)"),
    "block": ("block", _size(4096, 64 << 20), "a size from 4K to 64M such as block=256K"),
    "readahead": ("readahead", _size(0, 1 << 30), "a size up to 1G such as readahead=8M"),
    "ttl": ("ttl_s", _seconds, "seconds such as ttl=60, or ttl=forever for what never changes"),
    "timeout": ("timeout_s", _timeout, "seconds up to 3600 such as timeout=30"),
    "calls": ("calls", _count, "a number from 1 to 256 such as calls=16"),
}
