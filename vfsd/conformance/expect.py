"""How a check says what it expects: plain functions whose messages stand on their own.

Not `assert`: the suite also runs without pytest, where a bare assertion tells nothing, and
under ``python -O``, where there are none.

Concurrency: stateless.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class CheckFailed(AssertionError):
    """The provider breaks a promise of the contract; the message says which and how."""


class NotApplicable(Exception):
    """The provider rightly does without what the check is about."""


def equal(actual: object, expected: object, what: str) -> None:
    """Fail unless both are equal."""
    if actual != expected:
        raise CheckFailed(f"{what}: expected {_short(expected)}, found {_short(actual)}")


def true(condition: object, what: str) -> None:
    """Fail with `what` unless `condition` holds."""
    if not condition:
        raise CheckFailed(what)


@contextmanager
def raises(*codes: int, what: str) -> Iterator[None]:
    """Fail unless the block raises an `OSError` with one of the errnos `codes`."""
    wanted = " or ".join(_name(code) for code in codes)
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            found = _name(error.errno or 0)
            raise CheckFailed(f"{what}: expected {wanted}, found {found}") from error
    else:
        raise CheckFailed(f"{what}: expected {wanted}, but it succeeded")


@contextmanager
def optional(*codes: int, what: str) -> Iterator[None]:
    """Leave the check as not applicable if the block raises one of the errnos `codes`."""
    try:
        yield
    except OSError as error:
        if error.errno in codes:
            raise NotApplicable(f"{what} is not supported ({_name(error.errno)})") from error
        raise


def _name(code: int) -> str:
    return errno.errorcode.get(code, str(code))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]}... ({len(text)} characters)"
