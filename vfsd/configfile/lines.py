"""The line on which a key of a TOML file stands: the standard library's parser does not tell.

What it is *not*: a check; the text is known to be well-formed TOML.

Concurrency: pure functions.

Source: the TOML specification, v1.0.0.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

Path = tuple[str | int, ...]
"""The names of tables and keys that lead somewhere, with the position in an array of tables."""

_OPENERS = {"[": 1, "{": 1, "]": -1, "}": -1}


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1 on, of each table and of each key that begins a line."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, statement in _statements(text):
        if statement.startswith("["):
            is_array = statement.startswith("[[")
            name = statement.strip().lstrip("[").partition("]")[0]
            table = _within(_names(name), counts)
            if is_array:
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found.setdefault(table, number)
            continue
        key = (*table, *_names(_key(statement)))
        for length in range(len(table) + 1, len(key) + 1):
            found.setdefault(key[:length], number)
    return found


def line_of(lines: dict[Path, int], path: Path) -> int:
    """Return the line of `path`, or of the nearest table around it; 1 if there is none."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each header and each pair, which may go over several lines, with its first line."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        first = at
        statement = lines[at].strip()
        at += 1
        if not statement or statement.startswith("#"):
            continue
        while not statement.startswith("[") and at < len(lines) and not _is_whole(statement):
            statement += "\n" + lines[at]
            at += 1
        yield first + 1, statement


def _is_whole(statement: str) -> bool:
    """Say whether a pair ends here: no bracket and no string is open."""
    depth = at = 0
    while at < len(statement):
        letter = statement[at]
        if letter == "#":
            at = statement.find("\n", at)
            if at < 0:
                break
        elif letter in "\"'":
            quote = letter * 3 if statement.startswith(letter * 3, at) else letter
            at = _end_of_string(statement, at + len(quote), quote)
            if at < 0:
                return False
            continue
        depth += _OPENERS.get(letter, 0)
        at += 1
    return depth <= 0


def _end_of_string(text: str, at: int, quote: str) -> int:
    """Return the place after the closing `quote`, -1 if it is not there."""
    while at < len(text):
        if text[at] == "\\" and quote[0] == '"':
            at += 2
        elif text.startswith(quote, at):
            end = at + len(quote)
            # Up to two quotes may stand right before the closing three.
            while len(quote) == 3 and text.startswith(quote[0], end):
                end += 1
            return end
        else:
            at += 1
    return -1


def _key(statement: str) -> str:
    """Return what stands before the equals sign of a pair."""
    at = 0
    while at < len(statement) and statement[at] != "=":
        letter = statement[at]
        at = _end_of_string(statement, at + 1, letter) if letter in "\"'" else at + 1
        if at < 0:
            return statement
    return statement[:at]


def _names(dotted: str) -> tuple[str, ...]:
    """Return the names in a dotted key, without their quotes."""
    names: list[str] = []
    value: object = tomllib.loads(f"{dotted} = 0")
    while isinstance(value, dict):
        ((name, value),) = value.items()
        names.append(name)
    return tuple(names)


def _within(names: tuple[str, ...], counts: dict[Path, int]) -> Path:
    """Return the path of a header: below the last element of each array on the way."""
    path: Path = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if path in counts and position < len(names) - 1:
            path = (*path, counts[path])
    return path
