"""What the store refuses, as errors that a caller can tell apart.

Each is a `UserError`: one sentence for a person, and the exit code of the command line.

Concurrency: immutable values.
"""

from __future__ import annotations

import errno

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class NotFound(UserError):
    """There is no snapshot of that name."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        """`known` are the names that there are."""
        hint = meant(name, known, "'vfsd snapshot ls' lists what there is")
        super().__init__(f"there is no snapshot {name!r} in the store; {hint}", ExitCode.NOT_FOUND)


class NameTaken(UserError):
    """A snapshot of that name exists, perhaps since a moment ago."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a snapshot {name!r} exists already; choose another name, use --replace,"
            f" or remove it with 'vfsd snapshot rm {name}'",
            ExitCode.REFUSED,
        )


class InUse(UserError):
    """A running fork stands on the snapshot."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the snapshot {name!r} is in use by a fork that is running; end that first,"
            " or use --force: the space is then freed by 'vfsd gc' once the fork has ended",
            ExitCode.REFUSED,
        )


class Damaged(UserError):
    """Something in the store is damaged, malformed, or of an unknown version."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.DAMAGED)


class UnknownVersion(Damaged):
    """A record is healthy, and of a version that only a newer vfsd reads."""


class Elsewhere(UserError):
    """What is to be adopted lies on another file system, or cannot be moved."""

    def __init__(self, what: str, store: str) -> None:
        super().__init__(
            f"{what} cannot be moved into the store at {store}, which is on another file system;"
            " set XDG_STATE_HOME to a directory on the same one",
        )


class StoreFull(UserError):
    """No room in the store; what was there before is as it was."""

    def __init__(self, store: str, name: str) -> None:
        super().__init__(
            f"no room in the store at {store}: the snapshot {name!r} was not saved, all others"
            " are as they were; 'vfsd gc' and 'vfsd snapshot rm NAME' make room",
            ExitCode.FULL,
        )


class refused_when_full:
    """Turn a full disk or quota into StoreFull."""

    def __init__(self, store: str, name: str) -> None:
        self._store = store
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(self._store, self._name) from error
