"""Every key of a configuration file: one table, for reading, `vfsd config show` and docs/CONFIG.md.

What it is *not*: options of providers, which the provider checks when it is made.

Concurrency: immutable values and pure functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vfsd.errors import UserError
from vfsd.sandbox import limits
from vfsd.snapshots.names import check_name

EVERY_S_MIN, EVERY_S_MAX = 1.0, 86_400.0
"""Bounds of `persist-every`."""


class Kind(NamedTuple):
    """What a value must be: in words, and what gives its meaning (ValueError: it is not)."""

    told: str
    read: Callable[[object], object]


class Key(NamedTuple):
    """One key: its name, what it holds, what holds without it, what it does."""

    name: str
    kind: Kind
    default: str
    text: str


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _number(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return read


def _one_of(*words: str) -> Kind:
    def read(value: object) -> object:
        if value not in words:
            raise ValueError
        return value

    return Kind("one of " + ", ".join(f'"{word}"' for word in words), read)


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError
    return [_text(each) for each in value]


def _variables(value: object) -> list[str]:
    texts = _texts(value)
    if any(each.startswith("=") for each in texts):
        raise ValueError
    return texts


def _name(value: object) -> str:
    try:
        return check_name(_text(value))
    except UserError:
        raise ValueError from None


def _every(value: object) -> float:
    seconds = _as_written(limits.duration)(value)
    assert isinstance(seconds, float)
    if not EVERY_S_MIN <= seconds <= EVERY_S_MAX:
        raise ValueError
    return seconds


def _as_written(read: Callable[[str, str], object]) -> Callable[[object], object]:
    """Return a check by what reads the same on the command line; the text stays as it is."""

    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError
        try:
            return read("", str(value))
        except UserError:
            raise ValueError from None

    return check


def _limit(read: Callable[[str, str], object]) -> Callable[[object], str]:
    check = _as_written(read)

    def written(value: object) -> str:
        check(value)
        return str(value)

    return written


def _quota(value: object) -> str:
    """As the limits of a run are written, and told as a provider takes it."""
    bytes_ = _as_written(limits.size)(value)
    assert isinstance(bytes_, int)
    return limits.shown_size(bytes_).removesuffix(" bytes")


def _options(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError
    return {name: _option(each) for name, each in value.items()}


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return str(value)
    return _text(value)


TEXT = Kind("text", _text)
SWITCH = Kind("true or false", _switch)
SIZE = Kind('a size such as "64M"', _limit(limits.size))
QUOTA = Kind(SIZE.told, _quota)
TIME = Kind('a time such as "90s"', _limit(limits.duration))
COUNT = Kind("a whole number from 1 on", _limit(limits.count))
SHARE = Kind("a number of processors such as 1.5", _limit(limits.share))
NAME = Kind("a name of letters, digits and - _ .", _name)
TEXTS = Kind("a list of texts", _texts)
VARIABLES = Kind('a list of variables, as "NAME=VALUE" or "NAME"', _variables)
OPTIONS = Kind("a table of texts, numbers, true and false", _options)
PREFIX = Kind("a path below the mountpoint", _text)
EVERY = Kind('a time from "1s" to "1d"', _every)

MOUNT = (
    Key("directory", TEXT, "", "the mountpoint, an existing directory"),
    Key("allow-other", SWITCH, "false; true for root", "let other users in"),
    Key("allow-nonempty", SWITCH, "false", "hide what the directory holds"),
    Key("xattrs", SWITCH, "true", "extended attributes"),
    Key("list-provenance", SWITCH, "false", "list the attributes `user.vfsd.*` as well"),
    Key("meta", SWITCH, "true", "the hidden directory `.vfsd` at the root"),
    Key("loop", _one_of("hot", "stock"), '"hot"', "which loop serves requests"),
    Key("poll-us", Kind("a number from 0 to 10000", _number(0, 10_000)), "50", "see `--poll-us`"),
    Key("log-level", _one_of("DEBUG", "INFO", "WARNING"), '"INFO"', "how much is logged"),
)
PROVIDER = (
    Key("source", TEXT, '"memory"', "a provider, `name:source`, `snapshot:NAME`, or a path"),
    Key("read-only", SWITCH, "false", "nothing can be changed"),
    Key("links", TEXT, '"deny"', "for a directory: what becomes of links that lead out of it"),
    Key("size", QUOTA, "", "quota: bytes in a tree in memory"),
    Key("inodes", COUNT, "", "quota: files in a tree in memory"),
    Key("options", OPTIONS, "", "further options of the provider, as `-o` takes them"),
    Key("persist", NAME, "", "keep the tree over restarts, under this name"),
    Key("persist-every", EVERY, '"60s"', "how often it is stored, if it changed"),
)
ATTACH = (Key("prefix", PREFIX, "", "where; missing directories are made"), *PROVIDER)
RUN = (
    Key("engine", _one_of("auto", "kernel", "fuse", "native"), '"auto"', "what makes the layer"),
    Key("net", SWITCH, "false", "let it use the host's network"),
    Key("allow-host", TEXTS, "", "hosts that it may talk to"),
    Key("env", VARIABLES, "", "variables inside"),
    Key("memory", SIZE, "", "memory of all its processes together"),
    Key("pids", COUNT, "", "processes and threads"),
    Key("cpus", SHARE, "", "processors"),
    Key("timeout", TIME, "", "end it after so long"),
    Key("fsize", SIZE, "", "size of each file it writes"),
    Key("disk", SIZE, "", "size of each place of its own"),
    Key("output", SIZE, "", "how much it may say"),
)

TABLES: dict[str, tuple[Key, ...]] = {
    "mount": MOUNT,
    "provider": PROVIDER,
    "attach": ATTACH,
    "run": RUN,
}
"""Of `attach` there may be any number: ``[[attach]]``."""
