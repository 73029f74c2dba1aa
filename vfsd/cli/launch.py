"""From the command line into the daemon: in the foreground, or forked off.

The background child reports over a pipe, once: an exit code and a message. So the parent
returns exactly when the mount answers, or with the daemon's own sentence about why it cannot.

Logs: in the foreground to stderr (with priorities if that is the journal); in the background
to `$XDG_STATE_HOME/vfsd/log/KEY.log`, which the parent names.

Concurrency: forks before trio or any thread starts.

Sources: daemon(7), sd-daemon(3) (log prefixes), the XDG base directory specification.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from vfsd import xdg
from vfsd.config import MountConfig
from vfsd.digest import short_key
from vfsd.errors import UserError, exit_code_of
from vfsd.exitcodes import ExitCode, code_of

Reread = Callable[[], MountConfig]
"""Reads the configuration again; UserError."""

_JOURNAL_PRIORITY = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class _JournalFormatter(logging.Formatter):
    """Prefixes each line with its priority, as the journal reads it from stderr."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _JOURNAL_PRIORITY.get(record.levelno, 3)
        text = super().format(record)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


def foreground(config: MountConfig, reread: Reread) -> int:
    """Serve until stopped, saying on stderr when the mount is live, and to who supervises it."""
    if "JOURNAL_STREAM" in os.environ and not sys.stderr.isatty():
        formatter: logging.Formatter = _JournalFormatter("%(name)s: %(message)s")
    else:
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    _log_to(handler, config)

    async def ready() -> None:
        print(f"vfsd: mounted at {config.mountpoint}", file=sys.stderr, flush=True)

    _serve(config, reread, ready, foreground=True)
    return ExitCode.OK


def background(config: MountConfig, reread: Reread) -> int:
    """Fork the daemon off and return once its mount answers.

    UserError with the daemon's own words if it does not come up.
    """
    log_path = log_of(config.mountpoint)
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        os._exit(_child(config, reread, writer, log_path))
    os.close(writer)
    with open(reader, "rb") as pipe:
        report = pipe.read()
    if not report:
        raise UserError(
            f"the daemon ended before its mount was live; {log_path} says more", ExitCode.FAILED
        )
    code, message = report[0], os.fsdecode(report[1:])
    if code != ExitCode.OK:
        raise UserError(message, code_of(code))
    return ExitCode.OK


def _child(config: MountConfig, reread: Reread, writer: int, log_path: Path) -> int:
    """Be the daemon: in a session of its own, with nothing of the terminal's."""

    def report(code: int, message: str = "") -> None:
        nonlocal writer
        if writer >= 0:
            os.write(writer, bytes([code]) + os.fsencode(message))
            os.close(writer)
            writer = -1

    async def ready() -> None:
        logging.getLogger("vfsd").info("mounted at %s", config.mountpoint)
        report(ExitCode.OK)

    try:
        os.setsid()
        if os.fork():
            return 0  # so that the daemon is no session leader and never gets a terminal
        os.chdir("/")
        _redirect(log_path)
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        _log_to(handler, config)
        _serve(config, reread, ready, foreground=False)
    except UserError as error:
        report(error.exit_code, error.message)
        return error.exit_code
    except OSError as error:
        report(exit_code_of(error), f"{error.filename or config.source}: {error.strerror}")
        return ExitCode.FAILED
    except BaseException as error:
        logging.getLogger("vfsd").exception("the daemon failed")
        report(ExitCode.FAILED, f"the daemon failed ({error}); {log_path} says more")
        return ExitCode.FAILED
    logging.getLogger("vfsd").info("unmounted from %s", config.mountpoint)
    return ExitCode.OK


def _redirect(log_path: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)


def log_of(mountpoint: str) -> Path:
    """Return where a daemon in the background logs."""
    state = xdg.need(xdg.STATE, "logs")
    key = short_key(os.fsencode(mountpoint))
    return Path(state, "vfsd", "log", f"{key:016x}.log")


def _log_to(handler: logging.Handler, config: MountConfig) -> None:
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(config.log_level)


def _serve(
    config: MountConfig, reread: Reread, ready: Callable[[], Awaitable[None]], *, foreground: bool
) -> None:
    import trio

    from vfsd import daemon

    try:
        trio.run(daemon.serve, config, ready, reread, foreground)
    except BaseExceptionGroup as group:
        # Nurseries wrap; a person wants the one sentence inside.
        ours, _ = group.split((UserError, OSError))
        error: BaseException = ours if ours is not None else group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
