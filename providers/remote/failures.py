"""What drivers raise, as errnos: they know no contract, and each has classes of its own.

An `OSError` with an errno keeps it. Others are known by Python's own classes, by an HTTP status
(aiohttp, requests, botocore, google), or by a class's name, since no driver is imported here. What
is left is EIO.

Concurrency: pure functions.

Sources: errno(3); RFC 9110, section 15; aiohttp's and botocore's documentation of exceptions.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator, Mapping

_STATUSES = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    407: errno.EACCES,
    408: errno.ETIMEDOUT,
    410: errno.ENOENT,
    451: errno.EACCES,
    504: errno.ETIMEDOUT,
}
_CLASSES: tuple[tuple[type[BaseException], int], ...] = (
    (TimeoutError, errno.ETIMEDOUT),
    (asyncio.TimeoutError, errno.ETIMEDOUT),
    (PermissionError, errno.EACCES),
    (NotADirectoryError, errno.ENOTDIR),
    (IsADirectoryError, errno.EISDIR),
    (FileNotFoundError, errno.ENOENT),
    (ConnectionRefusedError, errno.ECONNREFUSED),
    (ConnectionResetError, errno.ECONNRESET),
    (KeyError, errno.ENOENT),
)
_NAMES = {
    "ClientConnectorDNSError": errno.EHOSTUNREACH,
    "gaierror": errno.EHOSTUNREACH,
    "ServerDisconnectedError": errno.ECONNRESET,
    "ClientPayloadError": errno.ECONNRESET,
    "ContentLengthError": errno.ECONNRESET,
    "TransferEncodingError": errno.ECONNRESET,
    "IncompleteReadError": errno.ECONNRESET,
    "IncompleteRead": errno.ECONNRESET,
    "ReadTimeoutError": errno.ETIMEDOUT,
    "ConnectTimeoutError": errno.ETIMEDOUT,
    "FSTimeoutError": errno.ETIMEDOUT,
    "EndpointConnectionError": errno.ECONNREFUSED,
    "NoCredentialsError": errno.EACCES,
    "PartialCredentialsError": errno.EACCES,
    "ProfileNotFound": errno.EACCES,
}
_CHAIN_MAX = 5
LARGEST = 133
"""Above it are no errnos of Linux; drivers put other numbers there (EAI_NONAME is negative)."""

PASSING = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
"""Worth a second try at once: a connection that was kept open and the server had closed."""

TOLD = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})
"""Ordinary answers, which nobody needs to read of in the log."""


def errno_of(error: BaseException) -> int:
    """Return the errno for what a driver raised.

    Drivers raise FileNotFoundError *from* what really happened (fsspec's http does for any
    failure), so the cause is asked first.
    """
    for each in reversed(list(_causes(error))):
        code = _errno_of(each)
        if code is not None:
            return code
    return errno.EIO


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if current is None:
            return
        yield current
        current = current.__cause__


def _errno_of(error: BaseException) -> int | None:
    for kind in type(error).__mro__:
        if kind.__name__ in _NAMES:
            return _NAMES[kind.__name__]
    status = _status(error)
    if status is not None and status >= 400:
        return _STATUSES.get(status, errno.EIO)
    if isinstance(error, OSError) and error.errno is not None and 0 < error.errno <= LARGEST:
        return error.errno
    for kind, code in _CLASSES:
        if isinstance(error, kind):
            return code
    return None


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an exception carries, as one of the libraries does."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        metadata = response.get("ResponseMetadata")
        found = metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None
    elif response is not None:  # requests
        found = getattr(response, "status_code", None)
    else:  # aiohttp, google
        found = getattr(error, "status", None) or getattr(error, "code", None)
    return found if isinstance(found, int) else None
