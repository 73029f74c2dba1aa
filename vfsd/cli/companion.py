"""A mount for one run only, served by a process that ends with the run, however that ends.

vfsd/sandbox/served.py forks the process, and `serve` is all it does. SIGTERM ends it, and the
kernel sends that when its parent is gone.

Concurrency: one trio run.

Source: PR_SET_PDEATHSIG(2const).
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os

import trio

from vfsd import daemon
from vfsd.config import MountConfig
from vfsd.errors import UserError, exit_code_of
from vfsd.sandbox.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PR_SET_PDEATHSIG = 1


def serve(
    report: int, parent: int, mountpoint: str, source: str, options: Mapping[str, str]
) -> int:
    """Serve until SIGTERM; 0 if the mount was live.

    The fd `report` is closed once the mount answers; if it does not come up, an exit code and a
    sentence are written to it. `parent` is who must be there.
    """
    gc.enable()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 1
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = MountConfig(mountpoint, source, options)

    async def ready() -> None:
        os.close(report)

    try:
        trio.run(daemon.serve, config, ready)
    except BaseException as error:
        code, said = _told(error)
        os.write(report, bytes([code]) + os.fsencode(said))
        return code
    return 0


def _told(error: BaseException) -> tuple[int, str]:
    # Nurseries wrap; a person wants the one sentence inside.
    while isinstance(error, BaseExceptionGroup):
        ours, _ = error.split((UserError, OSError))
        error = (ours or error).exceptions[0]
    if isinstance(error, UserError):
        return error.exit_code, error.message
    if isinstance(error, OSError):
        return exit_code_of(error), f"{error.filename or 'the mount'}: {error.strerror or error}"
    return 1, f"the daemon failed ({error!r})"
