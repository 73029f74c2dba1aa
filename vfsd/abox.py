"""A sandbox in a trio program.

    from vfsd.abox import Sandbox

    async with Sandbox(base="./project") as box:
        await box.put("input.txt", b"data")
        result = await box.run(["make", "test"], timeout_s=60, env={"CI": "1"})
        print(result.code, result.stdout)
        async with box.open(["python3", "-i"]) as process:     # trio's streams
            await process.stdin.send_all(b"print(1)\\n")
        await box.snapshot("built")                             # as `vfsd run --save built`
        async with await box.fork() as other:                   # neither sees the other's changes
            await other.run(["make", "clean"])

What the commands write goes to one layer, seen by the next command, and with the box at the
end; nothing outside changes.

What it is *not*: for programs without trio there is vfsd.box, with the same methods.

Concurrency: tasks may share a box; one command at a time runs in it. A call that is cancelled
ends its command.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from subprocess import PIPE
from types import TracebackType
from typing import Self

import trio

from vfsd.boxwords import GET, PUT, AnyPath, Box, Footing, Result, transferred


class Sandbox:
    """See the module. The arguments are those of `Box`."""

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
        self._turn = trio.Lock()

    async def __aenter__(self) -> Self:
        await trio.to_thread.run_sync(self._footing.open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True):
            async with self._turn:
                await trio.to_thread.run_sync(self._footing.close)

    async def run(
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
        return await self._run(words, stdin)

    @asynccontextmanager
    async def open(
        self,
        command: Sequence[AnyPath],
        *,
        cwd: AnyPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[trio.Process]:
        """Start a command with `stdin`, `stdout` and `stderr` as trio's streams.

        On leaving, it is waited for; if that is by an exception, it is ended.
        """
        words = self._box.words(self._footing.place, command, cwd=cwd, env=env, timeout_s=timeout_s)
        async with self._turn:
            process = await trio.lowlevel.open_process(words, stdin=PIPE, stdout=PIPE, stderr=PIPE)
            try:
                yield process
                if process.stdin is not None:
                    await process.stdin.aclose()
                await process.wait()
            except BaseException:
                process.terminate()
                with trio.CancelScope(shield=True):
                    await process.wait()
                raise
            finally:
                with trio.CancelScope(shield=True):
                    for stream in (process.stdin, process.stdout, process.stderr):
                        if stream is not None:
                            await stream.aclose()

    async def put(self, path: AnyPath, content: bytes) -> None:
        """Write a file inside, with its directories; a relative path is the box's. OSError."""
        words = self._box.words(self._footing.place, ["sh", "-c", PUT, "sh", path])
        transferred(await self._run(words, content), path)

    async def get(self, path: AnyPath) -> bytes:
        """Return what a file inside holds. FileNotFoundError, OSError."""
        words = self._box.words(self._footing.place, ["sh", "-c", GET, "sh", path])
        return transferred(await self._run(words, b""), path)

    async def snapshot(self, name: str, *, replace_it: bool = False) -> None:
        """Keep what the box holds now as a snapshot; the box goes on upon it. UserError."""
        more = [f"--save={name}", *(["--replace"] if replace_it else [])]
        words = self._box.words(self._footing.place, ["true"], more=more)
        (await self._run(words, b"")).check()
        await trio.to_thread.run_sync(self._footing.stand_on, name)
        self._box = replace(self._box, base=f"snapshot:{name}")

    async def fork(self) -> Sandbox:
        """Return a box, to be entered, that begins as this one is now."""
        name = f"box-{os.urandom(8).hex()}"
        await self.snapshot(name)
        other = Sandbox()
        other._box = replace(self._box)
        other._footing.own = {name}
        self._footing.own.add(name)
        await trio.to_thread.run_sync(other._footing.stand_on, name)
        return other

    async def _run(self, words: Sequence[str], stdin: bytes) -> Result:
        async with self._turn:
            done = await trio.run_process(
                words, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False
            )
        return Result(done.returncode, done.stdout, done.stderr)
