"""The serving loop: decides when a worker takes the next request and when trio gets a turn.

pyfuse3's workers go through trio's scheduler twice for each request (a lock, then
`wait_readable`). pyfuse3 looks up the name `trio` in its own module at run time, so `install`
puts a stand-in there whose lock is always open and whose `wait_readable` decides:

- a request waits: go on without suspending, unless trio's run queue is not empty or `budget`
  requests went by since trio's last turn;
- none waits: the worker becomes the *hot* one. It prepares for further ones, if it can, polls
  for `poll_us` (adaptively), then sleeps in one `poll` on both /dev/fuse and trio's epoll until
  the next deadline, and gives trio a turn whenever that was what woke it;
- another worker is hot: *park* in trio's own `wait_readable`, so that service goes on when the
  hot worker's handler suspends. One task can be there; further ones stand by behind it.

The rule that makes it safe: `wait_readable` returns only right after a poll that found the
request, with no suspension in between, whoever was woken for whatever reason; reading is up to
the worker that polled last. A request can still vanish between poll and read (its caller was
killed), and a blocking read would then stop the daemon until the next one (as it stops
pyfuse3's own loop: 6 of 25 times that two busy callers were killed, here 0 of 25). So
/dev/fuse is non-blocking while we serve, and a worker whose read found nothing starts over
(`_Workers`).

What it is *not*: the waiting itself (waiting.py), what trio's internals are (triointernals.py),
how many workers there are
(pyfuse3: `main(min_tasks, max_tasks)`), or the handlers.

Concurrency: everything runs in the trio thread; state changes between awaits. Waiting is
protected from KeyboardInterrupt as trio's own is: it arrives in trio's main task.

Sources: pyfuse3 3.5 internal.pxi (`_wait_fuse_readable`, `_session_loop`); Linux
fs/fuse/dev.c (`fuse_dev_do_read`, `request_wait_answer`); poll(2), epoll(7).
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import ModuleType, TracebackType

import trio

from vfsd.fuse.triointernals import RunLoop, Unfit, bind, check_release
from vfsd.fuse.waiting import OpenLock, Waiting

log = logging.getLogger(__name__)

PYFUSE3_SERIES = "3.5."
PYFUSE3_PARTS = ("trio", "main", "terminate", "_session_loop", "_wait_fuse_readable")


class _Workers:
    """Stands in for the nursery of pyfuse3's workers.

    Starts a worker over whose read found the request gone. (pyfuse3 does not free that
    worker's buffer: address space of 1 MiB, of which the pages that were used are memory.)
    """

    def __init__(
        self, installed: Installed, manager: AbstractAsyncContextManager[trio.Nursery]
    ) -> None:
        self._installed = installed
        self._manager = manager

    async def __aenter__(self) -> _Workers:
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            return await self._manager.__aexit__(kind, error, traceback)
        finally:
            self._installed.session_ended()

    def start_soon(
        self, serve: Callable[..., Awaitable[object]], *args: object, name: object = None
    ) -> None:
        self._nursery.start_soon(functools.partial(self._serve, serve), *args, name=name)

    async def _serve(self, serve: Callable[..., Awaitable[object]], *args: object) -> None:
        while True:
            try:
                await serve(*args)
            except BlockingIOError as error:
                # The same from a handler is a mistake there, and ends the daemon as ever.
                if not str(error.strerror).startswith("fuse_session_receive_buf"):
                    raise
                self._installed.vanished += 1
            else:
                return


class _Lowlevel:
    """Stands in for `trio.lowlevel`."""

    def __init__(self, installed: Installed) -> None:
        self.wait_readable: Callable[[int], Awaitable[None]] = installed.first_wait
        self.notify_closing: Callable[[int], None] = trio.lowlevel.notify_closing

    def __getattr__(self, name: str) -> object:
        return getattr(trio.lowlevel, name)


class _Trio:
    """Stands in for `trio` in pyfuse3's module."""

    def __init__(self, installed: Installed) -> None:
        self.lowlevel = _Lowlevel(installed)
        self.Lock = OpenLock
        self.open_nursery = installed.open_nursery

    def __getattr__(self, name: str) -> object:
        return getattr(trio, name)


class Installed:
    """The serving loop of a pyfuse3 module, from `install` to `uninstall`."""

    def __init__(
        self, module: ModuleType, poll_us: int, budget: int, prepare: Callable[[], int] | None
    ) -> None:
        self._module = module
        self._prepare = prepare
        self._spin_ns = poll_us * 1000
        self._budget = budget
        self._run_loop: RunLoop | None = None
        self._waiting: Waiting | None = None
        self._counts: dict[str, int] = {}
        self.vanished = 0
        """Requests that were gone when they were read."""
        self._put()

    def _put(self) -> None:
        self._stand_in = _Trio(self)
        self._module.__dict__["trio"] = self._stand_in

    def uninstall(self) -> None:
        """Give pyfuse3 its own loop back; RuntimeError while `pyfuse3.main` runs. Idempotent."""
        if self._run_loop is not None:
            raise RuntimeError("pyfuse3.main() runs: terminate it first")
        if self._module.__dict__["trio"] is self._stand_in:
            self._module.__dict__["trio"] = trio

    def statistics(self) -> Mapping[str, int]:
        """Return counts of the current session, or of the last one."""
        if self._waiting is not None:
            self._counts = self._waiting.statistics()
        return {**self._counts, "vanished": self.vanished}

    def open_nursery(self) -> AbstractAsyncContextManager[object]:
        """Begin a session: pyfuse3's `main` opens its nursery in the trio run that serves it."""
        try:
            self._run_loop = bind()
        except Unfit as reason:
            log.warning("serving with pyfuse3's own, slower loop: %s", reason)
            self.uninstall()
            return trio.open_nursery()
        return _Workers(self, trio.open_nursery())

    def first_wait(self, fd: int) -> Awaitable[None]:
        """Learn the session's fd from the first wait; all others go to `Waiting` directly."""
        assert self._run_loop is not None, "pyfuse3 waits only in its nursery"
        spin_ns = self._spin_ns if len(os.sched_getaffinity(0)) > 1 else 0
        self._waiting = waiting = Waiting(fd, self._run_loop, spin_ns, self._budget, self._prepare)
        self._stand_in.lowlevel.wait_readable = waiting.wait_readable
        self._stand_in.lowlevel.notify_closing = waiting.notify_closing
        return waiting.wait_readable(fd)

    def session_ended(self) -> None:
        """Forget the session; its fd is still open."""
        if self._waiting is not None:
            self._counts = self._waiting.statistics()
            self._waiting.close()
            self._waiting = None
        self._run_loop = None
        self._put()


def install(
    pyfuse3: ModuleType,
    *,
    poll_us: int = 50,
    budget: int = 64,
    prepare: Callable[[], int] | None = None,
) -> Installed | None:
    """Make `pyfuse3.main` serve with this loop; None if it cannot, and the log says why.

    Call it before `pyfuse3.main()`, inside or outside a trio run, before or after
    `pyfuse3.init()`. What depends on the run is checked as `main` begins; if that fails, the
    log says so then and pyfuse3's own loop serves.

    `poll_us`: microseconds to poll before sleeping, 0 for never; on one CPU it never does.
    `budget`: requests between two turns of trio while it has no work that is known of.
    `prepare`: called again and again while no request waits, before polling, until it returns 0;
    what it does is to take some ten microseconds at a time, and to end of itself.
    """
    if poll_us < 0 or budget < 1:
        raise ValueError("poll_us is at least 0, budget at least 1")
    try:
        check_release()
        version = str(getattr(pyfuse3, "__version__", "unknown"))
        if not version.startswith(PYFUSE3_SERIES):
            raise Unfit(f"pyfuse3 is {version}, not {PYFUSE3_SERIES}*")
        missing = [part for part in PYFUSE3_PARTS if part not in pyfuse3.__dict__]
        if missing:
            raise Unfit(f"pyfuse3 has no {', '.join(missing)}")
        if pyfuse3.__dict__["trio"] is not trio:
            raise Unfit("pyfuse3 does not wait with trio, or a serving loop is installed already")
    except Unfit as reason:
        log.warning("serving with pyfuse3's own, slower loop: %s", reason)
        return None
    return Installed(pyfuse3, poll_us, budget, prepare)
