"""One check: a name, what it needs, what it wants to find in the provider, and a function.

A check applies by the provider's `Traits`: `needs` names traits that must hold, `lacks` those
that must not. What traits do not tell (special files, snapshots) a check finds out itself and
raises `NotApplicable`.

Concurrency: immutable values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from types import MappingProxyType

from vfsd.conformance.contents import Contents
from vfsd.conformance.files import Files
from vfsd.provider import Traits

EMPTY: Contents = MappingProxyType({})
_TRAITS = frozenset(each.name for each in fields(Traits))

Run = Callable[[Files], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the contract, as something that can be run."""

    name: str
    area: str
    run: Run
    needs: tuple[str, ...]
    lacks: tuple[str, ...]
    contents: Contents

    def obstacle(self, traits: Traits) -> str | None:
        """Say why the check does not apply to a provider with `traits`; None if it does."""
        for trait in self.needs:
            if not getattr(traits, trait):
                return f"needs the trait {trait}"
        for trait in self.lacks:
            if getattr(traits, trait):
                return f"is for providers without the trait {trait}"
        return None


def check(
    *, needs: str = "", lacks: str = "", contents: Contents = EMPTY
) -> Callable[[Run], Check]:
    """Make a function a check; `needs` and `lacks` are trait names separated by spaces."""
    unknown = {*needs.split(), *lacks.split()} - _TRAITS
    if unknown:
        raise ValueError(f"no such trait: {', '.join(sorted(unknown))}")

    def decorate(run: Run) -> Check:
        name: str = getattr(run, "__name__", "")
        area = run.__module__.rpartition(".")[2]
        return Check(name, area, run, tuple(needs.split()), tuple(lacks.split()), contents)

    return decorate
