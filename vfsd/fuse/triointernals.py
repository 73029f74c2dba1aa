"""What the serving loop needs to know of trio's run loop, checked before it is relied on.

Everything that is not trio's public interface is named in this file. Whatever is missing, of
another type or another version raises `Unfit` with a sentence for the log; the mount is then
served by pyfuse3's own loop, which is slower and needs none of this.

What it is *not*: the waiting itself (servingloop.py).

Concurrency: `bind` is called from inside the trio run whose loop it describes.

Sources: trio 0.35, trio/_core/_run.py (`Runner`, `unrolled_run`) and _io_epoll.py.
"""

from __future__ import annotations

import select
import sys
from collections import deque
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import cast

import trio

TRIO_SERIES = "0.35."
"""The releases whose run loop was read for this."""


class Unfit(Exception):
    """This trio, or this run of it, cannot be shared with the serving loop; says why."""


@dataclass(frozen=True, slots=True)
class RunLoop:
    """The parts of a running trio loop; all are the loop's own objects, and stay so."""

    runq: Sized
    """Tasks that can run in the next batch; see `Runnable` for those of the present one."""
    idle_waiters: Sized
    """Tasks in `wait_all_tasks_blocked`: they wait until the loop itself sleeps."""
    next_deadline: Callable[[], float]
    """The next deadline by trio's clock, in seconds; `inf` if there is none."""
    sleep_time: Callable[[float], float]
    """Seconds from now to a deadline; negative when it is over."""
    epoll_fd: int
    """Readable when a file descriptor, a thread or a signal wants the loop's attention."""


class Runnable(trio.abc.Instrument):
    """Counts the tasks that can run now, besides the one that does.

    The run queue alone does not tell: trio empties it into a batch before it runs that, so a
    task that sleeps in its step keeps the rest of its batch waiting, in no queue to be seen.
    What the batch held when this was made is not known: it counts as one until the next batch.
    """

    __slots__ = ("_runq", "count")

    def __init__(self, runq: Sized) -> None:
        self._runq = runq
        self.count = 1

    def before_io_wait(self, timeout: float) -> None:
        self.count = len(self._runq)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self.count += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count -= 1


def check_release() -> None:
    """Raise `Unfit` unless this is Linux and the trio that this file was written for."""
    if sys.platform != "linux" or not hasattr(select, "epoll"):
        raise Unfit("trio's loop is known to sleep in epoll on Linux only")
    if not trio.__version__.startswith(TRIO_SERIES):
        raise Unfit(f"trio is {trio.__version__}, not {TRIO_SERIES}*")


def bind() -> RunLoop:
    """Describe the trio loop that is running this; `Unfit` if it is not as expected."""
    check_release()
    try:
        from trio._core._io_epoll import EpollIOManager
        from trio._core._run import GLOBAL_RUN_CONTEXT, SystemClock
    except ImportError as error:
        raise Unfit(f"trio's loop moved: {error}") from None
    try:
        runner: object = GLOBAL_RUN_CONTEXT.runner
    except AttributeError:
        raise Unfit("no trio loop runs here") from None
    if _part(runner, "is_guest") is not False:
        raise Unfit("trio runs as a guest of another loop")
    clock = _part(runner, "clock")
    if type(clock) is not SystemClock:
        raise Unfit(f"trio's clock is {type(clock).__name__}, which may jump while nothing runs")
    io_manager = _part(runner, "io_manager")
    if type(io_manager) is not EpollIOManager:
        raise Unfit(f"trio waits in {type(io_manager).__name__}")
    epoll = _part(io_manager, "_epoll")
    if not isinstance(epoll, select.epoll) or epoll.closed:
        raise Unfit("trio's epoll object is not one")
    runq = _part(runner, "runq")
    if not isinstance(runq, deque):
        raise Unfit(f"trio's run queue is a {type(runq).__name__}")
    idle_waiters = _part(runner, "waiting_for_idle")
    if not isinstance(idle_waiters, Sized):
        raise Unfit(f"trio's idle waiters are a {type(idle_waiters).__name__}")
    next_deadline = cast(Callable[[], float], _method(_part(runner, "deadlines"), "next_deadline"))
    if not isinstance(next_deadline(), float):
        raise Unfit("trio's next deadline is not a number of seconds")
    sleep_time = cast(Callable[[float], float], _method(clock, "deadline_to_sleep_time"))
    return RunLoop(runq, idle_waiters, next_deadline, sleep_time, epoll.fileno())


def _part(owner: object, name: str) -> object:
    try:
        return cast(object, getattr(owner, name))
    except AttributeError:
        raise Unfit(f"trio's {type(owner).__name__} has no {name}") from None


def _method(owner: object, name: str) -> Callable[..., object]:
    method = _part(owner, name)
    if not callable(method):
        raise Unfit(f"trio's {type(owner).__name__}.{name} cannot be called")
    return method
