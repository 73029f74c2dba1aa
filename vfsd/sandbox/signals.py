"""Signals: by number, without the enumerations of `signal`, and as they arrive.

The module `signal` wraps the functions of a C module with enumerations, which take a
millisecond of each run to make; here is that C module. To a type checker it is `signal`.

Concurrency: for the main thread, as all that handles signals in Python.

Sources: signal(7); Python's signal.set_wakeup_fd.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
else:
    import _signal as signal

FORWARDED = (
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2),
)
"""What is passed on to the command."""


class Wakeups:
    """Gives a block an fd from which the numbers of arriving signals can be read.

    A signal that our parent had us ignore (nohup, a shell's background job) stays ignored,
    here and for the command.
    """

    def __enter__(self) -> int:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {
            number: signal.getsignal(number)
            for number in (*FORWARDED, signal.SIGTSTP, signal.SIGWINCH)
            if signal.getsignal(number) != signal.SIG_IGN
        }
        self._kept = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._before:
            signal.signal(number, lambda *_: None)
        return self._reader

    def __exit__(self, *_: object) -> None:
        for number, action in self._before.items():
            signal.signal(number, action)
        signal.set_wakeup_fd(self._kept)
        os.close(self._reader)
        os.close(self._writer)
