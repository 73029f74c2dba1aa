"""The one place where errors become `pyfuse3.FUSEError`: a decorator on every handler.

`OSError` gives its errno; anything else is logged with its traceback and gives EIO; a
cancellation, which is the end of the session, gives ENOTCONN. The decorator is load-bearing:
an exception of another kind that escapes a handler ends the daemon.

It counts requests by kind as well, since every request passes here.
"""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import pyfuse3
import trio

log = logging.getLogger(__name__)

ERRNO_LIMIT = 512
"""From here on errnos are the kernel's own (ERESTARTSYS, ENOTSUPP), which it takes from nobody."""

P = ParamSpec("P")
T = TypeVar("T")


class Counting(Protocol):
    """An object that counts requests by kind."""

    requests: dict[str, int]


S = TypeVar("S", bound=Counting)


def handler(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make `method` a FUSE handler: counted, and with no way out but a reply or an errno."""
    kind = method.__name__

    @functools.wraps(method)
    async def handle(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        self.requests[kind] += 1
        try:
            return await method(self, *args, **kwargs)
        except OSError as error:
            raise pyfuse3.FUSEError(_told(error.errno)) from None
        except pyfuse3.FUSEError:
            raise
        except trio.Cancelled:
            # Answered, not dropped: the kernel may hold one of our threads (invalidation.py),
            # and with it /dev/fuse, until this caller is gone. The next wait is cancelled again.
            raise pyfuse3.FUSEError(errno.ENOTCONN) from None
        except Exception:
            log.exception("the handler of %s failed; its caller gets EIO", kind)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return cast("Callable[Concatenate[S, P], Coroutine[Any, Any, T]]", handle)


def _told(code: object) -> int:
    """Return what the kernel takes as an errno; it leaves a caller waiting who is told another.

    `OSError` takes anything as its errno. Source: Linux fs/fuse/dev.c, fuse_dev_do_write.
    """
    return code if isinstance(code, int) and 0 < code < ERRNO_LIMIT else errno.EIO


def refuse(code: int) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Make a handler that answers `code` to every request.

    With ENOSYS the kernel remembers the answer and does not send the kind again.
    """

    async def refused(*args: object) -> None:
        raise pyfuse3.FUSEError(code)

    return refused
