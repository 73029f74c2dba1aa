"""The engine `native`: the command, started here, with no layer and no isolation at all.

For a machine on which nothing else works, or to compare with. Only when named: nothing falls
back to it. The command keeps the caller's terminal, environment, files and rights.

Concurrency: one thread, which waits for the command.

Sources: posix_spawnp(3); signal(7).
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FROM_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""Those go to the whole group anyway, so to the command as well."""


def run(command: Sequence[str], directory: str, environment: Mapping[str, str]) -> int:
    """Run the command in `directory` to its end; return its code, 128 + n, 126 or 127."""
    here = os.getcwd()
    os.chdir(directory)
    before = {number: signal.getsignal(number) for number in (*PASSED_ON, *FROM_THE_TERMINAL)}
    defaults = [number for number, action in before.items() if action is not signal.SIG_IGN]
    pid = 0

    def pass_on(number: int, frame: object) -> None:
        if pid:
            os.kill(pid, number)

    try:
        for number in defaults:
            signal.signal(number, pass_on if number in PASSED_ON else lambda *_: None)
        pid = os.posix_spawnp(
            command[0],
            list(command),
            dict(environment),
            setsigdef=[*defaults, signal.SIGPIPE, signal.SIGXFSZ],
        )
        _, status = os.waitpid(pid, 0)
    except OSError as error:
        raise _unstartable(command[0], error) from error
    finally:
        for number in defaults:
            signal.signal(number, before[number])
        os.chdir(here)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _unstartable(name: str, error: OSError) -> UserError:
    missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
    if error.errno == errno.EACCES and "/" not in name:
        # A directory of the path that is closed to this user says so for every name.
        places = os.environ.get("PATH", os.defpath).split(":")
        missing = not any(os.path.lexists(os.path.join(place, name)) for place in places)
    code = ExitCode.RUN_NOT_FOUND if missing else ExitCode.RUN_NOT_EXECUTABLE
    return UserError(f"{name} cannot be started: {os.strerror(error.errno or 0)}", code)
