"""Paths on the command line: which daemon serves one, and what its place in the tree is.

Concurrency: one connection per mountpoint, used by one verb.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from vfsd import runtime
from vfsd.client import Client
from vfsd.errors import UserError, exit_code_of
from vfsd.exitcodes import ExitCode


class Connections:
    """Connections to the daemons behind paths, made when needed, closed together."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._clients: dict[bytes, Client] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def locate(self, path: str) -> tuple[Client, bytes]:
        """Return the client for `path` and the path from the tree's root. UserError if none."""
        served = runtime.find(path)
        client = self._clients.get(served.mountpoint)
        if client is None:
            client = self._stack.enter_context(Client(served))
            self._clients[served.mountpoint] = client
        return client, b"/" + served.prefix


class Outcome:
    """Collects failures that do not stop a verb, and the exit code they make."""

    def __init__(self) -> None:
        self._codes: set[int] = set()

    def complain(self, path: str, error: OSError | UserError) -> None:
        """Tell what went wrong with `path`, in one sentence."""
        if isinstance(error, UserError):
            self.say(error.message, error.exit_code)
        elif isinstance(error, ConnectionError):
            raise error
        else:
            why = error.strerror or str(error)
            self.say(f"{path}: {why}", exit_code_of(error))

    def say(self, sentence: str, code: int = ExitCode.FAILED) -> None:
        """Tell a failure."""
        print(f"vfsd: {sentence}", file=sys.stderr)
        self._codes.add(code)

    def code(self) -> int:
        """Return the code of all failures if they agree, else FAILED."""
        if not self._codes:
            return ExitCode.OK
        return self._codes.pop() if len(self._codes) == 1 else ExitCode.FAILED


def last_name(path: str) -> str:
    """Return the name a copy of `path` gets; empty if it is to be merged, as for ``.``."""
    name = os.path.basename(path.rstrip("/"))
    return "" if name in (".", "..") else name
