"""How pyfuse3's workers wait for the next request, without going through trio's scheduler.

The rules and the reasons stand in servingloop.py, which puts this into pyfuse3's place.

Concurrency: everything runs in the trio thread; state changes between awaits. Waiting is
protected from KeyboardInterrupt as trio's own is: it arrives in trio's main task.

Sources: Linux fs/fuse/dev.c (`fuse_dev_do_read`, `request_wait_answer`); poll(2), epoll(7).
"""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Awaitable, Callable, Generator, Iterator
from time import perf_counter_ns
from typing import Never, cast

import trio
from trio.lowlevel import checkpoint, checkpoint_if_cancelled, enable_ki_protection

from vfsd.fuse.triointernals import RunLoop, Runnable

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


class OpenLock:
    """Stands in for the lock around pyfuse3's wait, which `Waiting` makes superfluous."""

    __slots__ = ()

    def __aenter__(self) -> Awaitable[None]:
        return _DONE

    def __aexit__(self, *_: object) -> Awaitable[None]:
        return _DONE


class Waiting:
    """How the workers of one session wait for /dev/fuse. `fd` is borrowed, made non-blocking."""

    def __init__(
        self,
        fd: int,
        run_loop: RunLoop,
        spin_ns: int,
        budget: int,
        prepare: Callable[[], int] | None = None,
    ) -> None:
        self._fd = fd
        self._prepare = prepare
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
        if not runnable.count and (self._prepare_for_next() or self._spin()):
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
    def _prepare_for_next(self) -> bool:
        """Do what makes the next requests cheaper, until one comes (True) or it is done."""
        if self._prepare is not None:
            prepare, poll = self._prepare, self.poll
            while prepare():
                os.sched_yield()
                if poll(0):
                    return True
        return False

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
