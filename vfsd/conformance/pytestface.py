"""The suite as pytest tests: one test per check.

pytest and pytest-trio are imported when tests are made, so that the package itself does not
need them.

Concurrency: none of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from vfsd.conformance.suite import Conformance, Factory, Status
from vfsd.conformance.table import CHECKS


def conformance_tests(
    factory: Factory, skips: Mapping[str, str] | None = None
) -> Callable[[str], Awaitable[None]]:
    """Return a test function, parametrised over all checks; bind it to a name ``test_...``.

        test_conformance = conformance_tests(factory, skips={"xattrs_large_and_many": "why"})

    Raises ValueError for a skip of a check that does not exist.
    """
    import pytest

    suite = Conformance(factory, skips)

    @pytest.mark.trio
    @pytest.mark.parametrize("name", CHECKS)
    async def test_conformance(name: str) -> None:
        outcome = await suite.run(name)
        if outcome.status is Status.FAILED:
            raise AssertionError(outcome.reason) from outcome.error
        if outcome.status is not Status.PASSED:
            pytest.skip(outcome.reason)

    return test_conformance
