"""The serving loop: decides when a worker takes the next request and when trio gets a turn.

pyfuse3's workers go through trio's scheduler twice for each request (a lock, then
`wait_readable`). pyfuse3 looks up the name `trio` in its own module at run time, so `install`
puts a stand-in there whose lock is always open and whose `wait_readable` decides:

- a request waits: go on without suspending, unless trio's run queue is not empty or `budget`
  requests went by since trio's last turn;
- none waits: the worker becomes the *hot* one. It polls for `poll_us` (adaptively), then
  sleeps in one `poll` on both /dev/fuse and trio's epoll until the next deadline, and gives
  trio a turn whenever that was what woke it;
- another worker is hot: *park* in trio's own `wait_readable`, so that service goes on when the
  hot worker's handler suspends. One task can be there; further ones stand by behind it.

The rule that makes it safe: `wait_readable` returns only right after a poll that found the
request, with no suspension in between, whoever was woken for whatever reason; reading is up to
the worker that polled last. A request can still vanish between poll and read (its caller was
killed), and a blocking read would then stop the daemon until the next one (as it stops
pyfuse3's own loop: 6 of 25 times that two busy callers were killed, here 0 of 25). So
/dev/fuse is non-blocking while we serve, and a worker whose read found nothing starts over
(`_Workers`).

What it is *not*: what trio's internals are (triointernals.py), how many workers there are
(pyfuse3: `main(min_tasks, max_tasks)`), or the handlers.

Concurrency: everything runs in the trio thread; state changes between awaits. Waiting is
protected from KeyboardInterrupt as trio's own is: it arrives in trio's main task.

Sources: pyfuse3 3.5 internal.pxi (`_wait_fuse_readable`, `_session_loop`); Linux
fs/fuse/dev.c (`fuse_dev_do_read`, `request_wait_answer`); poll(2), epoll(7).
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import select
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from time import perf_counter_ns
from types import ModuleType, TracebackType
from typing import Never, cast

import trio
from trio.lowlevel import checkpoint, checkpoint_if_cancelled, enable_ki_protection

from vfsd.fuse.triointernals import RunLoop, Runnable, Unfit, bind, check_release

log = logging.getLogger(__name__)

PYFUSE3_SERIES = "3.5."
PYFUSE3_PARTS = ("trio", "main", "terminate", "_session_loop", "_wait_fuse_readable")

SLEEP_LIMIT_MS = 24 * 3600 * 1000
"""The longest sleep; poll(2) takes a C int of milliseconds."""
SPIN_MISSES_LIMIT = 8
"""After so many spins in a row that caught nothing, sleep at once…"""
SPIN_RETRY_SLEEPS = 64
"""…but for one spin after so many sleeps, in case the caller is a quick one again."""


class _Done:
    """An awaitable that is done already; one for all, since it holds nothing.

    Awaiting it costs 0.7 of awaiting a coroutine that returns at once.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Never, None, None]:
        return cast("Generator[Never, None, None]", _NOTHING)


_NOTHING: Iterator[Never] = iter(())
_DONE = _Done()


class _OpenLock:
    """Stands in for the lock around pyfuse3's wait, which `_Waiting` makes superfluous."""

    __slots__ = ()

    def __aenter__(self) -> Awaitable[None]:
        return _DONE

    def __aexit__(self, *_: object) -> Awaitable[None]:
        return _DONE


class _Waiting:
    """How the workers of one session wait for /dev/fuse. `fd` is borrowed, made non-blocking."""

    def __init__(self, fd: int, run_loop: RunLoop, spin_ns: int, budget: int) -> None:
        self._fd = fd
        self._run_loop = run_loop
        self._runq = run_loop.runq
        self._runnable = Runnable(run_loop.runq)
        # One persistent poll object takes 0.73 of epoll's time and 0.55 of select's.
        fuse = select.poll()
        fuse.register(fd, select.POLLIN)
        self.poll = fuse.poll
        both = select.poll()
        both.register(fd, select.POLLIN)
        both.register(run_loop.epoll_fd, select.POLLIN)
        self._poll_both = both.poll
        self._spin_ns = spin_ns
        self._spin_misses = 0
        self._budget = budget
        self._turn_at = budget
        self._hot = False
        """A worker is the hot one: it waits for /dev/fuse, or gives trio a turn meanwhile."""
        self._parked = False
        """A worker is in trio's own `wait_readable`."""
        self._standby = trio.lowlevel.ParkingLot()
        self._closing = False
        self._waits = 0
        self._slow_waits = 0
        self._spins = 0
        self._spin_hits = 0
        self._sleeps = 0
        self._turns = 0
        self._handovers = 0
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
        trio.lowlevel.add_instrument(self._runnable)

    def close(self) -> None:
        """Give the fd back as it was; called while it is still open."""
        trio.lowlevel.remove_instrument(self._runnable)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)

    @enable_ki_protection
    def wait_readable(self, fd: int) -> Awaitable[None]:
        """Return once a read of /dev/fuse finds a request, or the end of the session.

        Raises `trio.ClosedResourceError` after `notify_closing`. Suspends only if it must.
        """
        self._waits = waits = self._waits + 1
        if waits < self._turn_at and not self._runq and self.poll(0):
            return _DONE
        return self._wait()

    @enable_ki_protection
    def notify_closing(self, fd: int) -> None:
        """End all waits; what `pyfuse3.terminate` calls."""
        self._closing = True
        trio.lowlevel.notify_closing(fd)
        self._standby.unpark_all()

    @enable_ki_protection
    async def _wait(self) -> None:
        self._slow_waits += 1
        self._check_open()
        while True:
            if self._hot or self._run_loop.idle_waiters:
                readable = await self._wait_parked()
            else:
                self._hot = True
                try:
                    readable = await self._wait_hot()
                finally:
                    self._hot = False
            if readable:
                return

    @enable_ki_protection
    async def _wait_hot(self) -> bool:
        """Return True right after a poll that found a request, False if trio needs to sleep."""
        runnable = self._runnable
        if self._waits >= self._turn_at or runnable.count:
            await self._turn()
            if self.poll(0):
                return True
        else:
            # A worker that starts in a cancelled nursery must not sleep: nobody would wake it.
            await checkpoint_if_cancelled()
        if not runnable.count and self._spin():
            return True
        while not self._run_loop.idle_waiters:
            if not runnable.count and self._sleep():
                return True
            await self._turn()
            if self.poll(0):
                return True
        return False

    @enable_ki_protection
    async def _wait_parked(self) -> bool:
        """Return True right after a poll that found a request, False if all was taken."""
        if self._parked:
            await self._standby.park()
        else:
            self._parked = True
            try:
                await trio.lowlevel.wait_readable(self._fd)
                # While the hot worker gives trio a turn, requests are still its own.
                while self._hot and not self._closing:
                    await trio.lowlevel.wait_readable(self._fd)
            finally:
                self._parked = False
                # Whoever stands by now waits in this one's stead.
                self._standby.unpark()
        self._turn_at = self._waits + self._budget
        self._check_open()
        if self.poll(0):
            self._handovers += 1
            return True
        return False

    async def _turn(self) -> None:
        """Let trio see to its file descriptors, deadlines and tasks once."""
        self._turns += 1
        await checkpoint()
        self._turn_at = self._waits + self._budget
        self._check_open()

    def _check_open(self) -> None:
        if self._closing:
            raise trio.ClosedResourceError("the FUSE session ends")

    @enable_ki_protection
    def _spin(self) -> bool:
        """Poll for a little while, so that the CPU of a caller in a hurry need not wake ours.

        Each round yields the CPU first: a caller on this very CPU gets to ask.
        """
        if not self._spin_ns:
            return False
        if self._spin_misses >= SPIN_MISSES_LIMIT:
            self._spin_misses += 1
            if self._spin_misses < SPIN_MISSES_LIMIT + SPIN_RETRY_SLEEPS:
                return False
            self._spin_misses = SPIN_MISSES_LIMIT
            if len(os.sched_getaffinity(0)) == 1:
                return False
        self._spins += 1
        poll, end_ns = self.poll, perf_counter_ns() + self._spin_ns
        while perf_counter_ns() < end_ns:
            os.sched_yield()
            if poll(0):
                self._spin_hits += 1
                self._spin_misses = 0
                return True
        self._spin_misses += 1
        return False

    @enable_ki_protection
    def _sleep(self) -> bool:
        """Sleep until a request comes (True), or trio's attention is wanted (False)."""
        run_loop = self._run_loop
        sleep_s = run_loop.sleep_time(run_loop.next_deadline())
        if sleep_s <= 0:
            return False
        self._sleeps += 1
        events = self._poll_both(min(sleep_s * 1000, SLEEP_LIMIT_MS))
        return any(fd == self._fd for fd, _ in events)

    def statistics(self) -> dict[str, int]:
        """Return counts since the session began."""
        return {
            "waits": self._waits,
            "waits_hot": self._waits - self._slow_waits,
            "spins": self._spins,
            "spin_hits": self._spin_hits,
            "sleeps": self._sleeps,
            "turns": self._turns,
            "handovers": self._handovers,
        }


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
        self.Lock = _OpenLock
        self.open_nursery = installed.open_nursery

    def __getattr__(self, name: str) -> object:
        return getattr(trio, name)


class Installed:
    """The serving loop of a pyfuse3 module, from `install` to `uninstall`."""

    def __init__(self, module: ModuleType, poll_us: int, budget: int) -> None:
        self._module = module
        self._spin_ns = poll_us * 1000
        self._budget = budget
        self._run_loop: RunLoop | None = None
        self._waiting: _Waiting | None = None
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
        """Learn the session's fd from the first wait; all others go to `_Waiting` directly."""
        assert self._run_loop is not None, "pyfuse3 waits only in its nursery"
        spin_ns = self._spin_ns if len(os.sched_getaffinity(0)) > 1 else 0
        self._waiting = waiting = _Waiting(fd, self._run_loop, spin_ns, self._budget)
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


def install(pyfuse3: ModuleType, *, poll_us: int = 50, budget: int = 64) -> Installed | None:
    """Make `pyfuse3.main` serve with this loop; None if it cannot, and the log says why.

    Call it before `pyfuse3.main()`, inside or outside a trio run, before or after
    `pyfuse3.init()`. What depends on the run is checked as `main` begins; if that fails, the
    log says so then and pyfuse3's own loop serves.

    `poll_us`: microseconds to poll before sleeping, 0 for never; on one CPU it never does.
    `budget`: requests between two turns of trio while it has no work that is known of.
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
    return Installed(pyfuse3, poll_us, budget)
