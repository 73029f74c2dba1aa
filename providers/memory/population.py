"""The one run of a populate function, whoever asks and however many do.

A `Population` is shared by all versions that have the directory unpopulated: the function
runs once for all of them, and each puts what it said into its own tree (lazy.py).

Concurrency: the first access runs the function in its own task; others that come meanwhile
wait for that run and share its failure. If the running task is cancelled, one of those that
wait runs the function again. A run that failed is forgotten: the next access tries anew.
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Mapping
from typing import TypeAlias

import trio

from providers.memory import items
from providers.memory.dynamic import errno_of, raise_as_oserror
from vfsd.errors import fail
from vfsd.provider import PATH_MAX

Known: TypeAlias = "items.File | items.Symlink | items.Dynamic | Tree | Population"


class Tree(dict[bytes, Known]):
    """The checked content of one directory."""

    __slots__ = ("mode",)

    def __init__(self, mode: int) -> None:
        super().__init__()
        self.mode = mode


class _Attempt:
    """One run of the function."""

    __slots__ = ("code", "finished", "task")

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self.finished = trio.Event()
        self.code = 0


class Population:
    """A populate function and, once it ran, what it said."""

    __slots__ = ("_attempt", "_populate", "_said", "mode")

    def __init__(self, populate: items.Populate, mode: int) -> None:
        self.mode = mode
        self._populate = populate
        self._said: Tree | None = None
        self._attempt: _Attempt | None = None

    async def tree(self) -> Tree:
        """Return what the directory holds. EIO or the function's errno; EDEADLK inside it."""
        while self._said is None:
            attempt = self._attempt
            if attempt is None:
                await self._run()
            elif attempt.task is trio.lowlevel.current_task():
                raise fail(errno.EDEADLK)
            else:
                await attempt.finished.wait()
                if attempt.code:
                    raise fail(attempt.code)
        return self._said

    async def _run(self) -> None:
        attempt = self._attempt = _Attempt()
        try:
            said = self._populate()
            if inspect.isawaitable(said):
                said = await said
            self._said = checked(said, self.mode)
        except Exception as error:
            attempt.code = errno_of(error)
            raise_as_oserror(error, self._populate)
        finally:
            self._attempt = attempt.task = None
            attempt.finished.set()


def checked(said: object, mode: int) -> Tree:
    """Return a copy of what a populate function said. TypeError, ValueError."""
    if not isinstance(said, Mapping):
        raise TypeError(f"a populate function returns a mapping, not a {type(said).__name__}")
    tree = Tree(mode)
    for name, item in said.items():
        items.check_name(name)
        tree[name] = _known(item)
    return tree


def _known(item: object) -> Known:
    match item:
        case bytes() | bytearray() | memoryview():
            return items.File(bytes(item))
        case items.File():
            return items.File(bytes(item.data), item.mode)
        case items.Subdirectory():
            return checked(item.items, item.mode)
        case items.Lazy():
            return Population(item.populate, item.mode)
        case items.Dynamic():
            items.check_source(item.source)
            return item
        case items.Symlink():
            if not 0 < len(item.target) < PATH_MAX or b"\0" in item.target:
                raise ValueError("a symlink's target has 1 to 4095 bytes, none of them NUL")
            return item
        case Mapping():
            return checked(item, 0o755)
    raise TypeError(f"a {type(item).__name__} cannot be the content of a directory")
