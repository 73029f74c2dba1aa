"""The suite itself under test: each faulty provider fails exactly the checks that are meant."""

from contextlib import asynccontextmanager

import pytest
import trio

from providers.memory import MemoryProvider
from tests.conformance.dict_provider import DictProvider
from tests.conformance.faulty_providers import FAULTS, READ_ONLY_FAULTS
from tests.conformance.test_dict_provider import DICT_SKIPS
from vfsd.conformance import CHECKS, CheckFailed, Conformance, Model, Status, fill
from vfsd.conformance.files import Files
from vfsd.provider import Provider


async def failures(suite: Conformance) -> dict[str, str]:
    """Run all checks but the model at a time; return the reasons of those that failed."""
    found = {}

    async def run(name):
        outcome = await suite.run(name)
        if outcome.status is Status.FAILED:
            found[name] = outcome.reason

    async with trio.open_nursery() as nursery:
        for name, check in CHECKS.items():
            if check.area != "model":
                nursery.start_soon(run, name)
    return found


@pytest.mark.parametrize("fault", FAULTS)
async def test_fault_is_caught_and_nothing_else(fault: type[Provider]):
    @asynccontextmanager
    async def factory(contents):
        provider = fault()
        await fill(provider, contents)
        yield provider

    skips = DICT_SKIPS if issubclass(fault, DictProvider) else {}
    found = await failures(Conformance(factory, skips))
    assert found.keys() == FAULTS[fault], found


@pytest.mark.parametrize("fault", READ_ONLY_FAULTS)
async def test_read_only_fault_is_caught_and_nothing_else(fault: type[Provider]):
    @asynccontextmanager
    async def factory(contents):
        inner = MemoryProvider()
        await fill(inner, contents)
        yield fault(inner)

    found = await failures(Conformance(factory))
    assert found.keys() == READ_ONLY_FAULTS[fault], found


class LosesRareWrites(MemoryProvider):
    """Removing a name works, but not if it is the second one of a file in another directory."""

    async def unlink(self, parent, name):
        entry = await self.lookup(parent, name)
        if entry.stat.nlink < 2 or parent.number == self.root.number:
            await super().unlink(parent, name)


async def test_model_finds_a_rare_fault_and_names_its_seed():
    with pytest.raises(CheckFailed, match=r"seed 77: .*the last operations:\n"):
        await Model(Files(LosesRareWrites()), 77).run()


class TakesItsForksAlong(MemoryProvider):
    """Closing a version closes those that were made from it as well."""

    def __init__(self):
        super().__init__()
        self.made = []

    def fork(self):
        child = super().fork()
        child.made = []
        self.made.append(child)
        return child

    snapshot = fork

    async def aclose(self):
        await super().aclose()
        for child in self.made:
            await child.aclose()


async def test_model_finds_a_version_that_is_closed_with_another():
    with pytest.raises(CheckFailed, match=r"it is closed"):
        await Model(Files(TakesItsForksAlong()), 1).run()


async def test_model_is_repeatable():
    stories = []
    for _ in range(2):
        model = Model(Files(MemoryProvider()), 5)
        await model.run(200)
        stories.append(list(model.log))
    assert stories[0] == stories[1]
    assert len(stories[0]) == 12
