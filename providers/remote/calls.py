"""Calls of the driver: so many at a time, each with a time limit, each failure an errno.

A call of an asynchronous driver runs in its loop and is cancelled when it takes too long. Any
other runs in a thread, which nobody can end: its caller gets ETIMEDOUT, and its place among those
that run at a time is free again when the driver returns.

Concurrency: for trio tasks of one event loop.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import trio

from providers.remote.driver import Driver
from providers.remote.failures import PASSING, TOLD, errno_of
from providers.remote.secrets import Redactor
from vfsd.errors import fail

log = logging.getLogger(__name__)

T = TypeVar("T")

CALLS = 16
"""Calls at a time of a driver that is made for it."""

QUIET_S = 60.0
"""How long the same kind of failure is not logged again."""


class Calls:
    """The calls of one provider."""

    def __init__(
        self, driver: Driver, redactor: Redactor, limit: int | None, timeout_s: float
    ) -> None:
        self.driver = driver
        self.clean = redactor.clean
        # Most drivers that are not asynchronous (tar, ftp) were not made for several threads.
        at_a_time = limit or (CALLS if driver.loop is not None else 1)
        self._limiter = trio.CapacityLimiter(at_a_time)
        self._timeout_s = timeout_s
        self._logged: dict[str, float] = {}
        self.logs = False
        """Whether failures are logged; not before it is attached, which tells of them itself."""
        self.last_failure = ""
        self.made = 0
        self.failed = 0
        self.timed_out = 0

    async def ask(self, what: str, name: str, *arguments: object, **options: object) -> Any:  # noqa: ANN401
        """Return what the driver's method `name` returns; `what` tells of it in the log."""
        fs = self.driver.fs
        if self.driver.loop is None:
            return await self.in_thread(what, lambda: getattr(fs, name)(*arguments, **options))
        return await self.in_loop(what, lambda: getattr(fs, f"_{name}")(*arguments, **options))

    async def in_loop(
        self, what: str, make: Callable[[], Coroutine[Any, Any, T]], *, again: bool = True
    ) -> T:
        """Run a coroutine in the driver's loop, if `again` twice if need be. OSError; ETIMEDOUT."""
        loop = self.driver.loop
        assert loop is not None

        async def once() -> T:
            async with self._limiter:
                return await loop.run(make())

        return await self._timed(what, once, again=again)

    async def in_thread(self, what: str, call: Callable[[], T]) -> T:
        """Run a function in a thread. OSError; ETIMEDOUT."""

        async def once() -> T:
            return await trio.to_thread.run_sync(
                call, abandon_on_cancel=True, limiter=self._limiter
            )

        return await self._timed(what, once, again=True)

    async def _timed(
        self, what: str, once: Callable[[], Coroutine[Any, Any, T]], *, again: bool
    ) -> T:
        self.made += 1
        with trio.move_on_after(self._timeout_s):
            try:
                return await once()
            except Exception as error:
                if not again or errno_of(error) not in PASSING:
                    raise self._told(what, error) from None
            try:
                return await once()
            except Exception as error:
                raise self._told(what, error) from None
        self.timed_out += 1
        self._log(what, "no answer", f"no answer within {self._timeout_s:g} s")
        raise fail(errno.ETIMEDOUT)

    def _told(self, what: str, error: Exception) -> OSError:
        code = errno_of(error)
        if code not in TOLD:
            self.failed += 1
            kind = type(error).__name__
            self._log(what, f"{kind} {code}", f"{kind}: {error}")
        return fail(code)

    def complain(self, what: str, why: str) -> OSError:
        """Log what a server did wrong and return EIO for it."""
        self.failed += 1
        self._log(what, why, why)
        return fail(errno.EIO)

    def _log(self, what: str, kind: str, text: str) -> None:
        """Log a failure, unless one of its kind was just told of: a tree may meet thousands."""
        self.last_failure = self.clean(text)
        now = trio.current_time()
        if not self.logs or now < self._logged.get(kind, -math.inf) + QUIET_S:
            return
        if len(self._logged) > 100:
            self._logged.clear()
        self._logged[kind] = now
        log.warning("%s: %s: %s", self.driver.url, self.clean(what), self.clean(text))
