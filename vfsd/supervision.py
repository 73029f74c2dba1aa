"""Telling the service manager: that the mount is live, that it still answers, that it ends.

The protocol of sd_notify(3) is a datagram of ``KEY=VALUE`` lines to the socket that the
environment names; this needs no library. Without such a socket nothing is sent.

The watchdog is fed by a real request through the mount: a child process asks the kernel for the
room on the file system, which is never kept, the kernel asks the daemon, the event loop answers.
A loop that hangs feeds nothing, and neither does a mount that is gone; then the service manager
ends the daemon and starts it again. A process and not a thread: a thread that waits for an answer
to its own process's mount cannot be killed, and would keep the whole process from ending.

A tree that is kept may take longer to be loaded, or to be stored at the end, than the service
manager waits for a start or a stop. `patience` asks it to go on waiting for as long as that lasts.
The event loop asks, so one that hangs asks no more.

What it is *not*: the unit (systemd/vfsd@.service), or the verbs (vfsd/cli/service.py).

Concurrency: `watchdog` is a task of the event loop; it waits for the child without blocking.
`patience` runs a task as long as its block does. The rest is single system calls that do not block.

Sources: sd_notify(3), EXTEND_TIMEOUT_USEC and WATCHDOG; sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from subprocess import DEVNULL

import trio

log = logging.getLogger(__name__)

ASK = "stat"
"""The program of coreutils, stat(1), by which the mount is asked."""

PATIENCE_S = 30
"""How much longer the service manager is asked to wait, each time it is asked."""


class Supervisor:
    """The service manager, if there is one."""

    def __init__(self) -> None:
        """Read the environment, and take what concerns this process only out of it."""
        self._address = _address(os.environ.pop("NOTIFY_SOCKET", ""))
        usec, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        self.watchdog_s: float | None = None
        if usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid())):
            self.watchdog_s = int(usec) / 1e6

    def ready(self) -> None:
        """The mount answers, or the configuration was read."""
        self._tell("READY=1", "STATUS=the mount answers", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        """The configuration is being read again."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """The daemon ends."""
        self._tell("STOPPING=1")

    @asynccontextmanager
    async def patience(self, what: str) -> AsyncIterator[None]:
        """Have the service manager wait for as long as the block runs; `what` says for what."""
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            if self._address is not None:
                nursery.start_soon(self._ask_to_wait, what)
            try:
                yield
            except BaseException as error:
                # Kept out of the nursery, which would wrap it.
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _ask_to_wait(self, what: str) -> None:
        while True:
            self._tell(f"EXTEND_TIMEOUT_USEC={PATIENCE_S * 1_000_000}", f"STATUS={what}")
            await trio.sleep(PATIENCE_S / 3)

    async def watchdog(self, mountpoint: str) -> None:
        """Tell that all is well, twice in the time allowed, as long as the mount answers."""
        if self._address is None or self.watchdog_s is None:
            return
        while True:
            if await _answers(mountpoint):
                self._tell("WATCHDOG=1")
            else:
                log.error("a request through %s failed", mountpoint)
            await trio.sleep(self.watchdog_s / 2.5)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            speaker.setblocking(False)
            try:
                speaker.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                log.warning("the service manager was not told: %s", error.strerror)


async def _answers(mountpoint: str) -> bool:
    """Say whether the mount answers; waits for as long as it does not."""
    try:
        asking = await trio.lowlevel.open_process(
            [ASK, "--file-system", "--", mountpoint], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
        )
    except OSError as error:
        log.error("%s cannot be run: %s", ASK, error.strerror)
        return False
    try:
        return await asking.wait() == 0
    finally:
        # Not waited for: it may only be able to end once the mount is gone.
        asking.kill()


def has_terminal() -> bool:
    """Say whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _address(named: str) -> str | bytes | None:
    if named.startswith("@"):
        return b"\0" + os.fsencode(named[1:])
    return named if named.startswith("/") else None
