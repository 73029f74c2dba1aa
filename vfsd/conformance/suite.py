"""The suite for one provider: which checks apply, which are skipped and why, and what came out.

A skipped check is run all the same: if it passes, the skip is *stale* and fails, so that a
list of skips never says more than the truth.

What this is *not*: a face. vfsd/conformance/pytestface.py and vfsd/conformance/__main__.py
show outcomes.

Concurrency: each check has a fresh provider; run as many at a time as you like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum

import trio

from vfsd.conformance.check import Check
from vfsd.conformance.contents import Contents
from vfsd.conformance.expect import NotApplicable
from vfsd.conformance.files import Files
from vfsd.conformance.table import CHECKS
from vfsd.provider import Provider, Traits

TIMEOUT_SECONDS = 60
"""A check that takes longer is stuck; a healthy one takes a small part of it."""

Factory = Callable[[Contents], AbstractAsyncContextManager[Provider]]
"""Gives a fresh provider that holds exactly the contents, and frees it at the end."""


class Status(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended, and why if it did not pass."""

    status: Status
    reason: str = ""
    error: BaseException | None = None


class Conformance:
    """The suite for the provider that `factory` makes; `skips` gives a reason per check name."""

    def __init__(self, factory: Factory, skips: Mapping[str, str] | None = None) -> None:
        self.factory = factory
        self.skips = dict(skips or {})
        self._traits: Traits | None = None
        for name, reason in self.skips.items():
            if name not in CHECKS:
                raise ValueError(f"there is no check named {name!r} to skip")
            if not reason.strip():
                raise ValueError(f"skipping {name!r} needs a reason")

    async def run(self, name: str) -> Outcome:
        """Run one check; every failure of the provider or the factory is in the outcome."""
        outcome = await self.run_check(CHECKS[name])
        reason = self.skips.get(name)
        if reason is None:
            return outcome
        if outcome.status is Status.FAILED:
            return Outcome(Status.SKIPPED, reason)
        stale = f"stale skip ({reason}): the check is {outcome.status.value}"
        return Outcome(Status.FAILED, f"{stale} {outcome.reason}".rstrip())

    async def run_check(self, check: Check) -> Outcome:
        """Run a check, of the table or not; skips do not count here."""
        try:
            if self._traits is None:
                async with self.factory({}) as provider:
                    self._traits = provider.traits
            obstacle = check.obstacle(self._traits)
            if obstacle is not None:
                return Outcome(Status.NOT_APPLICABLE, obstacle)
            error: Exception | None = None
            with trio.fail_after(TIMEOUT_SECONDS):
                async with self.factory(check.contents) as provider:
                    # Caught here, so that a factory with a nursery does not wrap it in a group.
                    try:
                        await check.run(Files(provider))
                    except Exception as caught:
                        error = caught
        except Exception as caught:
            error = caught
        if error is None:
            return Outcome(Status.PASSED)
        if isinstance(error, NotApplicable):
            return Outcome(Status.NOT_APPLICABLE, str(error))
        return Outcome(Status.FAILED, f"{type(error).__name__}: {error}", error)
