"""A sandbox in a program without trio: abox.py's methods, each of which blocks.

    from vfsd.box import Sandbox

    with Sandbox(base="./project") as box:
        box.put("input.txt", b"data")
        print(box.run(["make", "test"], timeout_s=60).stdout)

Concurrency: threads may share a box; one command at a time runs in it.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from subprocess import PIPE
from types import TracebackType
from typing import Self

from vfsd.boxwords import GET, PUT, AnyPath, Box, Footing, Result, transferred


class Sandbox:
    """See the module, and `Box` for the arguments."""

    def __init__(
        self,
        base: AnyPath | None = None,
        engine: str = "auto",
        *,
        at: str | None = None,
        env: Mapping[str, str] | None = None,
        network: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self._box = Box(base, engine, at, dict(env or {}), network, options)
        self._footing = Footing()
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        self._footing.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._turn:
            self._footing.close()

    def run(
        self,
        command: Sequence[AnyPath],
        *,
        stdin: bytes = b"",
        cwd: AnyPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Result:
        """Run a command to its end; its output is collected.

        `cwd` is inside, from the box's directory. After `timeout_s` it is ended, with code 124.
        """
        words = self._box.words(self._footing.place, command, cwd=cwd, env=env, timeout_s=timeout_s)
        return self._run(words, stdin)

    @contextmanager
    def open(
        self,
        command: Sequence[AnyPath],
        *,
        cwd: AnyPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command with `stdin`, `stdout` and `stderr` as pipes.

        On leaving, it is waited for; if that is by an exception, it is ended.
        """
        words = self._box.words(self._footing.place, command, cwd=cwd, env=env, timeout_s=timeout_s)
        with self._turn, subprocess.Popen(words, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
            try:
                yield process
                if process.stdin is not None:
                    process.stdin.close()
                process.wait()
            except BaseException:
                process.terminate()
                raise

    def put(self, path: AnyPath, content: bytes) -> None:
        """Write a file inside, with its directories; a relative path is the box's. OSError."""
        words = self._box.words(self._footing.place, ["sh", "-c", PUT, "sh", path])
        transferred(self._run(words, content), path)

    def get(self, path: AnyPath) -> bytes:
        """Return what a file inside holds. FileNotFoundError, OSError."""
        words = self._box.words(self._footing.place, ["sh", "-c", GET, "sh", path])
        return transferred(self._run(words, b""), path)

    def snapshot(self, name: str, *, replace_it: bool = False) -> None:
        """Keep what the box holds now as a snapshot; the box goes on upon it. UserError."""
        more = [f"--save={name}", *(["--replace"] if replace_it else [])]
        words = self._box.words(self._footing.place, ["true"], more=more)
        self._run(words, b"").check()
        self._footing.stand_on(name)
        self._box = replace(self._box, base=f"snapshot:{name}")

    def fork(self) -> Sandbox:
        """Return a box, to be entered, that begins as this one is now."""
        name = f"box-{os.urandom(8).hex()}"
        self.snapshot(name)
        other = Sandbox()
        other._box = replace(self._box)
        other._footing.own = {name}
        self._footing.own.add(name)
        other._footing.stand_on(name)
        return other

    def _run(self, words: Sequence[str], stdin: bytes) -> Result:
        with self._turn:
            done = subprocess.run(words, input=stdin, capture_output=True, check=False)
        return Result(done.returncode, done.stdout, done.stderr)
