"""Errors that reach a person: one sentence, what to do next, and an exit code.

Inside the tree of providers errors are plain `OSError` with an errno; `FUSEError` is made in
vfsd/fuse/errors.py only. `UserError` is for the command line and the control socket.

Concurrency: immutable values.
"""

from __future__ import annotations

import errno
import os

from vfsd.exitcodes import Code, ExitCode

_EXIT_BY_ERRNO = {
    errno.ENOENT: ExitCode.NOT_FOUND,
    errno.ENODEV: ExitCode.NOT_FOUND,
    errno.EBUSY: ExitCode.REFUSED,
    errno.EEXIST: ExitCode.REFUSED,
    errno.ENOTEMPTY: ExitCode.REFUSED,
    errno.EACCES: ExitCode.DENIED,
    errno.EPERM: ExitCode.DENIED,
    errno.ENOSPC: ExitCode.FULL,
    errno.EDQUOT: ExitCode.FULL,
    errno.EBADMSG: ExitCode.DAMAGED,
    errno.EPROTO: ExitCode.DAMAGED,
    errno.EINVAL: ExitCode.USAGE,
}


class UserError(Exception):
    """A failure told in one sentence, with the exit code that the command line ends with."""

    def __init__(self, message: str, exit_code: Code = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def fail(code: int, subject: bytes | str | None = None) -> OSError:
    """Make the `OSError` for `code`; `subject` names the file it is about.

    Source: errno(3).
    """
    if isinstance(subject, bytes):
        subject = os.fsdecode(subject)
    return OSError(code, os.strerror(code), subject)


def exit_code_of(error: OSError) -> Code:
    """Return the documented exit code for an `OSError` that reached the command line."""
    return _EXIT_BY_ERRNO.get(error.errno or 0, ExitCode.FAILED)
