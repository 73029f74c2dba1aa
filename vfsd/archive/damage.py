"""What a reader says of an archive that it cannot believe: one exception, with the offset.

A provider turns it into EIO and a log line (`Damage.errno_error`), the command line into a sentence
and exit code 8.

Concurrency: immutable values.
"""

from __future__ import annotations

import errno
import os

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


class Damage(Exception):
    """The archive is damaged, malformed or of an unknown version.

    `what` is a clause without full stop; `offset` counts from the archive's first byte, in
    bytes, and is None where the complaint is about the whole file.
    """

    def __init__(self, what: str, offset: int | None = None) -> None:
        super().__init__(what if offset is None else f"{what} (at offset {offset})")
        self.what = what
        self.offset = offset

    def errno_error(self) -> OSError:
        """Return the `OSError` that a provider raises for it."""
        return OSError(errno.EIO, os.strerror(errno.EIO))

    def user_error(self, name: str) -> UserError:
        """Return the sentence for the command line about the archive called `name`."""
        return UserError(f"{name}: {self}", ExitCode.DAMAGED)


class Changed(Exception):
    """The file was changed in place while it was open; nothing more is read from it."""
