"""Starting a sandbox and being a good parent to it: streams, signals, the exact exit code.

bwrap runs in a session of its own, so that a Ctrl-C at our terminal reaches us only; signals
that arrive here go on to the command's process group, as a terminal would send them. After
SIGTERM or SIGHUP the command has `GRACE_S` to end, then everything in its pid namespace is
killed. Nothing outlives the run: bwrap dies with us (`--die-with-parent`), pid 1 of the pid
namespace with bwrap, and with pid 1 the namespace; `run` returns when that has happened. Where
we are killed before these bonds hold, the command does not start (`GATE`).

Standard streams are passed as they are, unless the command gets a terminal of its own
(terminal.py). No other open file of ours reaches the sandbox. bwrap itself has an empty
environment and reads its options from an fd: what /proc/1 tells inside is nothing of the host.

Concurrency: one thread; a self-pipe wakes the one `poll` for signals.

Sources: bwrap(1), --json-status-fd, --args; signal(7); pidfd_open(2); posix_spawn(3).
"""

from __future__ import annotations

import gc
import os
import select
import time

from vfsd.blocks import suppress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.signals import Wakeups, signal
from vfsd.sandbox.spawning import open_missing_streams, pipe, spawn
from vfsd.sandbox.spec import Argument
from vfsd.sandbox.steps import EngineFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vfsd.sandbox.terminal import Terminal

ENDING = (signal.SIGTERM, signal.SIGHUP)
GRACE_S = 10.0
GO_FD, STATUS_FD, ALIVE_FD = 3, 4, 5
GATE = (
    *("/bin/sh", "-c"),
    'while read -r stat </proc/1/stat; do case $stat in *") S "*) break; esac; done\n'
    f"read -r go <&{GO_FD} || exit; echo >&{ALIVE_FD} || exit\n"
    """no() { printf "vfsd: '%s' %s\\n" "$program" "$2" >&2; exit "$1"; }
program=$1
case $1 in
*/*)
    [ -e "$1" ] || [ -L "$1" ] ||
        no 127 "is not there inside; name a file of the base, or show it with --ro-bind"
    [ ! -d "$1" ] || no 126 "is a directory; name a program"
    [ -x "$1" ] || no 126 "may not be executed; give it the permission, or name what reads it";;
*)
    command -v -- "$1" >/dev/null ||
        no 127 "is no program of /usr or --path; install it, or show its directory with --path";;
esac
shift
"""
    f'exec "$@" {GO_FD}<&- {STATUS_FD}<&- {ALIVE_FD}>&-',
    "vfsd-run",
)
"""What starts the command; words follow that begin with the name of the program that is meant.

First pid 1 must sleep, which it does once it is bound to die with bwrap. Then it waits for a word
of ours that all is prepared. That may have been said long before, so afterwards we must be there
still to hold the other end of a pipe: if not, SIGPIPE is the end. So that bwrap itself comes this
far without us, it holds both ends of the pipe for its status. What a missing program means is said
here, where the sandbox is seen from inside, and costs a look-up."""
LOOK_AGAIN_S = 0.02
"""How soon to look for a command that has not started yet when a signal waits for it."""
END_S = 10.0
"""How long to wait for killed processes to be gone; one that waits for a dead disk may stay."""


def run(
    bwrap: str,
    options: Sequence[Argument],
    command: Sequence[str],
    terminal: Terminal | None,
    grace_s: float = GRACE_S,
    attendants: Sequence[Attendant] = (),
) -> int:
    """Run the sandbox to its end and return the command's exit code, or 128 + its signal.

    `grace_s` is how long the command may take to end after SIGTERM or SIGHUP. UserError
    (125) if bwrap cannot set the sandbox up; it said why on stderr; EngineFailed if the layers
    cannot be mounted. The first of the
    `attendants` stands nearest to bwrap, and hears of the end first.
    """
    # A run can last for days; a start is too short for it (vfsd/cli/main.py).
    gc.enable()
    open_missing_streams()
    status_read, status_write = pipe()
    go_read, go_write = pipe()
    alive_read, alive_write = pipe()
    try:
        with Wakeups() as wakeup:
            try:
                pipes = {GO_FD: go_read, STATUS_FD: status_read, ALIVE_FD: alive_write}
                for each in attendants:
                    pipes |= each.streams()
                before = [
                    word for each in reversed(attendants) for word in each.words(status_write)
                ]
                words = [*GATE, *command]
                pid = spawn(bwrap, options, words, status_write, pipes, terminal, before)
            finally:
                os.close(status_write)
                os.close(go_read)
                os.close(alive_write)
            if terminal is not None:
                terminal.close_slave()
            running = _Run(pid, status_read, go_write, wakeup, terminal, grace_s, attendants)
            code = running.wait()
        for each in attendants:
            code = each.ended(code)
        return code
    except BaseException:
        for each in attendants:
            each.abandoned()
        raise
    finally:
        os.close(status_read)
        os.close(go_write)
        os.close(alive_read)


class _Run:
    """A running sandbox."""

    def __init__(
        self,
        bwrap: int,
        status: int,
        go: int,
        wakeup: int,
        terminal: Terminal | None,
        grace_s: float,
        attendants: Sequence[Attendant],
    ) -> None:
        self._bwrap = bwrap
        self._bwrap_fd = os.pidfd_open(bwrap)
        self._init: int | None = None
        self._init_fd: int | None = None
        self._status = status
        self._go = go
        self._wakeup = wakeup
        self._terminal = terminal
        self._grace_s = grace_s
        self._said = b""
        self._hears = True
        self._pending: list[int] = []
        self._kill_at_s: float | None = None
        self._attendants = attendants
        self._code: int | None = None

    def end(self, code: int | None = None) -> None:
        """Send SIGTERM, and SIGKILL after the grace; `code` is then the run's exit code."""
        self._code = code
        self._pending.append(signal.SIGTERM)

    def kill(self, code: int | None = None) -> None:
        """Kill everything at once, likewise."""
        self._code = code
        self._kill()

    def wait(self) -> int:
        """Pass everything on until bwrap ends; where that fails, end it."""
        try:
            for each in self._attendants:
                each.started(self, self._bwrap)
            while True:
                ready = self._poll()
                if self._status in ready:
                    self._hear()
                if self._wakeup in ready:
                    self._pending += os.read(self._wakeup, 64)
                self._pass_signals_on()
                if self._terminal is not None:
                    self._terminal.pump(ready)
                self._attend(ready)
                if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
                    self._kill()
                if self._bwrap_fd in ready:
                    return self._finish()
        except BaseException:
            self._give_up()
            raise
        finally:
            os.close(self._bwrap_fd)
            if self._init_fd is not None:
                os.close(self._init_fd)

    def _poll(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._bwrap_fd, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        if self._hears:
            poll.register(self._status, select.POLLIN)
        if self._terminal is not None:
            for fd, events in self._terminal.interests().items():
                poll.register(fd, events)
        for each in self._attendants:
            for fd, events in each.interests().items():
                poll.register(fd, events)
        deadlines = [each.deadline_s() for each in self._attendants]
        moments = [at for at in (*deadlines, self._kill_at_s) if at is not None]
        patience_s = max(0.0, min(moments) - time.monotonic()) if moments else None
        if self._pending:
            patience_s = LOOK_AGAIN_S
        return dict(poll.poll(None if patience_s is None else patience_s * 1000 + 1))

    def _attend(self, ready: dict[int, int]) -> None:
        for each in self._attendants:
            each.pump(ready)
            deadline_s = each.deadline_s()
            if deadline_s is not None and time.monotonic() >= deadline_s:
                each.due()

    def _hear(self) -> None:
        said = os.read(self._status, 4096)
        self._said += said
        self._hears = bool(said)
        if self._init is None:
            self._init = self._told(b"child-pid")
            if self._init is not None:
                self._init_fd = self._open_init(self._init)
                for each in self._attendants:
                    each.inside(self._init)
                with suppress(BrokenPipeError):  # it is gone already
                    os.write(self._go, b"\n")

    def _told(self, key: bytes) -> int | None:
        # bwrap writes one JSON object per line. Not json: importing it takes longer than this.
        _, found, rest = self._said.partition(b'"%s": ' % key)
        digits = rest[: len(rest) - len(rest.lstrip(b"0123456789"))]
        complete = len(digits) < len(rest)
        return int(digits) if found and digits and complete else None

    def _open_init(self, pid: int) -> int | None:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return None
        # As long as it is bwrap's child its number cannot have gone to another process.
        if pid in _children(self._bwrap):
            return fd
        os.close(fd)
        return None

    def _command_group(self) -> int | None:
        """Return the command's process group as seen from here, once it leads one.

        pid 1 starts one child; what else it has are orphans that came to it later.
        """
        children = _children(self._init) if self._init is not None else []
        with suppress(ProcessLookupError):
            if children and os.getpgid(children[0]) == children[0]:
                return children[0]
        return None

    def _pass_signals_on(self) -> None:
        if signal.SIGWINCH in self._pending and self._terminal is not None:
            self._terminal.resize()
        self._pending = [number for number in self._pending if number != signal.SIGWINCH]
        group = self._command_group() if self._pending else None
        if group is None:
            return
        for number in self._pending:
            with suppress(ProcessLookupError):
                if number == signal.SIGTSTP:
                    self._stop(group)
                else:
                    os.killpg(group, number)
            if number in ENDING and self._kill_at_s is None:
                self._kill_at_s = time.monotonic() + self._grace_s
        self._pending = []

    def _stop(self, group: int) -> None:
        """Stop the command and then ourselves, until SIGCONT."""
        # A stop signal that can be caught does nothing to a group without a parent in its
        # session, so it is the one that cannot.
        os.killpg(group, signal.SIGSTOP)
        if self._terminal is not None:
            self._terminal.release()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._terminal is not None:
            self._terminal.take()
        os.killpg(group, signal.SIGCONT)

    def _kill(self) -> None:
        self._kill_at_s = None
        with suppress(ProcessLookupError):
            if self._init_fd is not None:
                signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._bwrap_fd, signal.SIGKILL)

    def _give_up(self) -> None:
        """Kill everything and wait for it, unless it has been waited for already."""
        with suppress(ProcessLookupError, ChildProcessError):
            self._kill()
            signal.pidfd_send_signal(self._bwrap_fd, signal.SIGKILL)
            os.waitpid(self._bwrap, 0)

    def _finish(self) -> int:
        _, status = os.waitpid(self._bwrap, 0)
        os.set_blocking(self._status, False)
        with suppress(BlockingIOError):
            while self._hears:
                self._hear()
        if self._init_fd is not None:
            # The kernel does this too, but later: what the command left running ends now.
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)
            gone = select.poll()
            gone.register(self._init_fd, select.POLLIN)
            gone.poll(END_S * 1000)
        if self._terminal is not None:
            self._terminal.drain()
        if self._code is not None:
            return self._code
        told = self._told(b"exit-code")
        if told is not None:
            return told
        step, code = self._told(b"engine-step"), self._told(b"engine-errno")
        if step is not None and code is not None:
            raise EngineFailed(step, code)
        if os.WIFSIGNALED(status):
            return 128 + os.WTERMSIG(status)
        raise UserError(
            "bwrap could not set the sandbox up (its own words stand above);"
            " 'vfsd doctor' says what this machine lacks",
            ExitCode.RUN_FAILED,
        )


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as children:
            return [int(word) for word in children.read().split()]
    except OSError:
        return []
