"""Reading a configuration file: what it says, or one sentence with file, line and key.

What it is *not*: the values that the daemon (mounting.py) and `vfsd run` (running.py) make of it.

Concurrency: one short blocking read; never waits, whatever the file is.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vfsd.configfile.keys import TABLES, Key
from vfsd.configfile.lines import Path, line_of, lines_of
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant, nearest

SIZE_MAX_BYTES = 1 << 20
"""Longer than any configuration: what is longer is none."""

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file whose every key is known and has a value of its kind."""

    path: str
    mount: Values = field(default_factory=dict)
    provider: Values = field(default_factory=dict)
    attach: Sequence[Values] = ()
    run: Values = field(default_factory=dict)
    lines: Mapping[Path, int] = field(default_factory=dict)

    def wrong(self, path: Path, what: str) -> UserError:
        """Return the error for what is wrong with the key at `path`."""
        return UserError(f"{self.place(path)}: {what}", ExitCode.USAGE)

    def place(self, path: Path) -> str:
        """Return file, line and key, as an editor finds them."""
        return f"{self.path}:{line_of(dict(self.lines), path)}: {shown(path)}"


def shown(path: Path) -> str:
    """Return a key as it is written, with the position in an array of tables from 1 on."""
    text = ""
    for name in path:
        if isinstance(name, int):
            text += f"[{name + 1}]"
        else:
            text += f".{plain(name)}" if text else plain(name)
    return text


def plain(name: str) -> str:
    """Return a name from a file so that it can be shown on any terminal."""
    return name if name.isprintable() else ascii(name)


def read(path: str) -> ConfigFile:
    """Read and check the file at `path`. UserError (USAGE, NOT_FOUND, DENIED)."""
    text = _text_of(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(_told(path, text, str(error)), ExitCode.USAGE) from None
    except RecursionError:
        raise UserError(f"{path}: values are nested too deeply", ExitCode.USAGE) from None
    file = ConfigFile(path, lines=lines_of(text))
    for name in document:
        if name not in TABLES:
            raise file.wrong((name,), _unknown("table", name, list(TABLES)))
    attach = document.get("attach", [])
    if not isinstance(attach, list):
        raise file.wrong(("attach",), "is a list of tables; write [[attach]]")
    return ConfigFile(
        path,
        mount=_table(file, document, "mount"),
        provider=_table(file, document, "provider"),
        attach=tuple(
            _checked(file, ("attach", position), each, TABLES["attach"])
            for position, each in enumerate(attach)
        ),
        run=_table(file, document, "run"),
        lines=file.lines,
    )


def _text_of(path: str) -> str:
    # Anything may stand there: a pipe that nobody writes to must not be waited for.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        hint = _file_beside(path)
        raise UserError(
            f"there is no configuration file {path}{hint}", ExitCode.NOT_FOUND
        ) from None
    except PermissionError:
        raise UserError(f"{path} cannot be read by this user", ExitCode.DENIED) from None
    with open(fd, "rb") as source:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UserError(f"{path} is not a file, so it is no configuration", ExitCode.USAGE)
        data = source.read(SIZE_MAX_BYTES + 1)
    if len(data) > SIZE_MAX_BYTES:
        raise UserError(f"{path} is longer than 1 MiB, so it is no configuration", ExitCode.USAGE)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: this is not UTF-8 text", ExitCode.USAGE) from None


def _told(path: str, text: str, said: str) -> str:
    """Put the line before what the parser says, where an editor looks for it."""
    what, _, place = said.rpartition(" (at ")
    line = "".join(filter(str.isdigit, place.partition(",")[0]))
    if not line:
        line = str(text.count("\n") + 1)
    return f"{path}:{line}: {what or said}"


def _file_beside(path: str) -> str:
    """Return the question after a configuration of nearly that name, if there is one."""
    place, name = os.path.split(path)
    try:
        near = nearest(name, [each for each in os.listdir(place) if each.endswith(".toml")])
    except OSError:
        return ""
    return f"; did you mean {os.path.join(place, near)}?" if near else ""


def _table(file: ConfigFile, document: Values, name: str) -> Values:
    return _checked(file, (name,), document.get(name, {}), TABLES[name])


def _checked(file: ConfigFile, path: Path, value: object, keys: Sequence[Key]) -> Values:
    if not isinstance(value, dict):
        raise file.wrong(path, f"is a table; write [{path[0]}]")
    known = {key.name: key for key in keys}
    found: dict[str, object] = {}
    for name, each in value.items():
        if name not in known:
            raise file.wrong((*path, name), _unknown("key", name, list(known)))
        kind = known[name].kind
        try:
            found[name] = kind.read(each)
        except ValueError:
            raise file.wrong((*path, name), f"{_value(each)} is not {kind.told}") from None
    return found


def _unknown(what: str, name: str, known: list[str]) -> str:
    hint = meant(name.replace("_", "-"), known, f"there are {', '.join(known)}")
    return f"there is no such {what}; {hint}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
