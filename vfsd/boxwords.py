"""What both faces of a sandbox in Python share: the words of each `vfsd run`, and the layer.

A box is a base with one layer over it that lasts from command to command; each command is a
`vfsd run --layer`, so that it is closed and ended as on the command line. The home directory and
/tmp are private to each command.

What it is *not*: the faces (abox.py for trio, box.py), or the layer's engine.

Concurrency: one command at a time works on a layer; whoever calls sees to that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.collection import remove
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.staging import Staging
from vfsd.snapshots.store import Store

AnyPath = str | os.PathLike[str]

PUT = 'mkdir -p -- "$(dirname -- "$1")" && cat >"$1"'
GET = 'exec cat -- "$1"'


class Result(NamedTuple):
    """How a command ended. `code` is as on the command line: 124 on a time-out, 128 + n, …"""

    code: int
    stdout: bytes
    stderr: bytes

    def check(self) -> Result:
        """Return this if the command succeeded. UserError with its last words otherwise."""
        if self.code != 0:
            lines = self.stderr.decode(errors="replace").strip().splitlines()
            said = f": {lines[-1]}" if lines else ""
            raise UserError(f"the command ended with {self.code}{said}", ExitCode.FAILED)
        return self


@dataclass(slots=True)
class Box:
    """A sandbox to be: a base, an engine, and options for each command."""

    base: AnyPath | None = None
    """A directory, an archive, ``snapshot:NAME`` or ``git+URL@REF``; None: as on the command
    line, the project of the current directory."""
    engine: str = "auto"
    at: str | None = None
    """Where the base is shown inside; None: at its own path."""
    env: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    options: Sequence[str] = ()
    """Further options of `vfsd run`, such as ``--memory=1G``."""

    def words(
        self,
        place: str,
        command: Sequence[AnyPath],
        *,
        cwd: AnyPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        more: Sequence[str] = (),
    ) -> list[str]:
        """Return the words that run `command` on the layer in `place`."""
        if isinstance(command, str | bytes):
            raise TypeError("a command is a sequence of words; for a shell: ['sh', '-c', ...]")
        words = ["--quiet", f"--engine={self.engine}", f"--layer={place}"]
        base = None if self.base is None else os.fspath(self.base)
        if base is not None and base.startswith("snapshot:"):
            words.append(f"--from={base.removeprefix('snapshot:')}")
        elif base is not None:
            words.append(f"--base={base}")
        if self.at is not None:
            words.append(f"--at={self.at}")
        words += [f"--env={key}={value}" for key, value in {**self.env, **(env or {})}.items()]
        if self.network:
            words.append("--net")
        if cwd is not None:
            words.append(f"--chdir={os.fspath(cwd)}")
        if timeout_s is not None:
            words.append(f"--timeout={timeout_s:f}")
        # -P: what lies in the current directory is not ours to import.
        start = [sys.executable, "-P", "-m", "vfsd", "run"]
        return [*start, *words, *self.options, *more, "--", *(os.fspath(word) for word in command)]


class Footing:
    """What a box stands on for as long as it is open: its layer's place, and its snapshot."""

    def __init__(self) -> None:
        self._staging: Staging | None = None
        self._lease: Lease | None = None
        self.own: set[str] = set()
        """Snapshots that were made for forks only; the last box on one removes it."""

    def open(self) -> None:
        """Make the place for the layer. ENOSPC."""
        self._staging = Store().stage()

    @property
    def place(self) -> str:
        """The directory of the layer."""
        if self._staging is None:
            raise RuntimeError("a sandbox is used inside 'with' or 'async with'")
        return self._staging.part("box")

    def stand_on(self, name: str) -> None:
        """Hold this snapshot, and the one before no longer. UserError."""
        lease = Store().lease(name)
        if self._lease is not None:
            self._lease.close()
        self._lease = lease

    def close(self) -> None:
        """Drop the layer, and what nobody else stands on. May be called twice."""
        if self._staging is not None:
            self._staging.close()
            self._staging = None
        if self._lease is not None:
            self._lease.close()
            self._lease = None
        while self.own:
            with suppress(UserError):
                remove(Store(), self.own.pop())


def transferred(result: Result, path: AnyPath) -> bytes:
    """Return what a `PUT` or `GET` printed. OSError with the command's words if it failed."""
    if result.code == 0:
        return result.stdout
    said = result.stderr.decode(errors="replace").strip()
    kind = FileNotFoundError if "No such file" in said else OSError
    raise kind(f"{os.fspath(path)}: {said}")
