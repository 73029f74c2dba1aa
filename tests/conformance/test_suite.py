"""Skips, applicability and the command line of the suite."""

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import trio

from tests.conformance.dict_provider import DictProvider
from vfsd.conformance import CHECKS, Conformance, NotApplicable, Status, conformance_tests, fill
from vfsd.provider import Provider

REPOSITORY = Path(__file__).parents[2]


@asynccontextmanager
async def factory(contents):
    provider = DictProvider()
    await fill(provider, contents)
    yield provider


def test_skip_of_unknown_check_is_refused():
    with pytest.raises(ValueError, match="no check named 'no_such_check'"):
        conformance_tests(factory, {"no_such_check": "because"})


@pytest.mark.parametrize("reason", ["", "  "])
def test_skip_without_reason_is_refused(reason):
    with pytest.raises(ValueError, match="needs a reason"):
        Conformance(factory, {"fsync_succeeds": reason})


async def test_skip_of_failing_check_gives_its_reason():
    suite = Conformance(factory, {"unlinked_node_works_while_open": "no node without a path"})
    outcome = await suite.run("unlinked_node_works_while_open")
    assert (outcome.status, outcome.reason) == (Status.SKIPPED, "no node without a path")


@pytest.mark.parametrize("name", ["fsync_succeeds", "link_of_directory_is_eperm"])
async def test_stale_skip_fails(name):
    outcome = await Conformance(factory, {name: "it was once so"}).run(name)
    assert outcome.status is Status.FAILED
    assert "stale skip (it was once so)" in outcome.reason


async def test_check_that_does_not_apply_says_why():
    suite = Conformance(factory)
    outcome = await suite.run("link_of_directory_is_eperm")
    assert (outcome.status, outcome.reason) == (
        Status.NOT_APPLICABLE,
        "needs the trait hard_links",
    )


async def test_failing_factory_is_a_failure():
    @asynccontextmanager
    async def failing(contents):
        raise RuntimeError("no provider today")
        yield

    outcome = await Conformance(failing).run("fsync_succeeds")
    assert outcome.status is Status.FAILED
    assert "no provider today" in outcome.reason


async def test_factory_with_a_nursery_does_not_hide_what_happened():
    @asynccontextmanager
    async def nursing(contents):
        async with trio.open_nursery(), factory(contents) as provider:
            yield provider

    suite = Conformance(nursing)
    special = await suite.run("mknod_makes_special_files")
    assert special.status is Status.NOT_APPLICABLE
    unlinked = await suite.run("unlinked_node_works_while_open")
    assert unlinked.reason.startswith("OSError")


async def test_each_check_has_a_fresh_provider():
    made = []

    @asynccontextmanager
    async def counting(contents):
        async with factory(contents) as provider:
            made.append(provider)
            yield provider

    suite = Conformance(counting)
    for name in ("fsync_succeeds", "deep_paths", "fsync_succeeds"):
        assert (await suite.run(name)).status is Status.PASSED
    assert len({id(provider) for provider in made}) == len(made) == 4  # one to ask the traits


def test_every_check_has_an_area_and_applies_to_somebody():
    assert len(CHECKS) > 140
    for name, check in CHECKS.items():
        assert check.name == name
        assert not set(check.needs) & set(check.lacks)


def test_not_applicable_is_no_failure_of_the_provider():
    assert not issubclass(NotApplicable, AssertionError)


def run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "vfsd.conformance", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_command_line_prints_a_line_per_check():
    done = run_module("providers.memory:MemoryProvider")
    *lines, summary = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert len(lines) == len(CHECKS)
    assert "0 failed" in summary


def test_command_line_fails_where_a_check_fails():
    place = "tests.conformance.dict_provider:DictProvider"
    arguments = (place, "--only", "unlinked_*")
    done = run_module(*arguments)
    assert done.returncode == 1
    assert "failed         removal/unlinked_node_works_while_open: OSError" in done.stdout
    skip = "--skip=unlinked_node_works_while_open=no node without a path"
    assert run_module(*arguments, skip).returncode == 0
    assert run_module(place, "--only", "fsync*", "--skip=fsync_succeeds=old").returncode == 1


def test_command_line_takes_a_factory_and_a_seed():
    place = "tests.conformance.test_suite:factory"
    done = run_module(place, "--seed", "123456", "--steps", "100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "model with seed 123456, 100 steps" in done.stdout
    done = run_module(place, "--only", "model_seed_*", VFSD_MODEL_SEED="987")
    assert done.returncode == 0
    assert "model_seed_987" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("no_such_module:Provider",),
        ("providers.memory:NoSuchName",),
        ("providers.memory",),
        ("sys:path",),
        ("providers.memory:MemoryProvider", "--skip=no_such_check=why"),
        ("providers.memory:MemoryProvider", "--skip=fsync_succeeds"),
        ("providers.memory:MemoryProvider", "--only=nothing_matches"),
        (),
    ],
)
def test_command_line_refuses_wrong_arguments(arguments):
    done = run_module(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr


def test_suite_does_not_import_pytest():
    code = "import vfsd.conformance, sys; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=60)


def test_registered_providers_are_providers(tmp_path, monkeypatch):
    """A third party registers in the group `vfsd.providers` as the built-in ones do."""
    metadata = tmp_path / "thirdparty-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[vfsd.providers]\ndict = tests.conformance.dict_provider:DictProvider\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {point.name: point for point in entry_points(group="vfsd.providers")}
    assert found["dict"].load() is DictProvider
    for point in found.values():
        assert issubclass(point.load(), Provider), point
