"""Every case on tmpfs and on a vfsd mount: what is seen must be equal.

A mount of memory, and one that passes a directory of tmpfs through.

tmpfs on the same machine is the oracle, so no case says what is right. Where vfsd differs on
purpose, differences.py says how and why.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.mounted.daemon import VfsdMount
from tests.mounted.posix import runner as _runner  # noqa: F401 - fills the table
from tests.mounted.posix.differences import DIFFERENCES, RACES, STOCK_DIFFERENCES
from tests.mounted.posix.observe import CASES

pytestmark = pytest.mark.fuse

REPOSITORY = Path(__file__).parents[3]


class Runner:
    """The process that performs cases; see runner.py."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mounted.posix.runner"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def see(self, name, directory):
        self.process.stdin.write(f"{name}\t{directory}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "failure" not in answer, f"{name} in {directory}: {answer['failure']}"
        return answer["seen"]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def runner():
    runner = Runner()
    yield runner
    runner.close()


@contextmanager
def own_tmpfs():
    """A tmpfs of its own, so that nobody else takes its room, or a directory of the shared one."""
    directory = tempfile.mkdtemp(prefix="vfsd-test-", dir="/dev/shm")
    if os.geteuid() == 0:
        options = "mode=755,size=256M,nr_inodes=100000"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)
    yield directory
    if os.geteuid() == 0:
        subprocess.run(["umount", directory], check=True)
    shutil.rmtree(directory)


@pytest.fixture(scope="module", params=["hot", "stock", "passthrough"])
def served(request):
    """A directory of a mount: of the memory provider by each serving loop, and of tmpfs."""
    loop = "hot" if request.param == "passthrough" else request.param
    mount = VfsdMount("-o", "size=256M,inodes=100000", "--loop", loop)
    if request.param == "passthrough":
        with own_tmpfs() as backing:
            path = mount.path / "backed"
            attached = mount.vfsd("attach", backing, str(path), "--links", "keep")
            assert attached.returncode == 0, attached.stderr
            yield path
            assert mount.vfsd("detach", str(path)).returncode == 0
    else:
        yield mount.path
    left = mount.close()
    assert not left, "\n".join(left)


@pytest.fixture(scope="module")
def oracle():
    """A directory on tmpfs that every user may enter."""
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", "/dev/shm"], capture_output=True, text=True
    ).stdout.strip()
    if kind != "tmpfs":
        pytest.fail(f"/dev/shm is {kind}, not tmpfs: there is nothing to compare with")
    directory = tempfile.mkdtemp(prefix="vfsd-test-", dir="/dev/shm")
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory)


def fresh(parent, name):
    """Make an empty directory, the same on both sides."""
    directory = os.path.join(parent, name)
    os.mkdir(directory)
    os.chmod(directory, 0o755)
    return directory


@pytest.fixture(scope="module")
def expectations(runner, oracle):
    """What tmpfs shows for each case, asked for once."""

    @cache
    def expect(name):
        return runner.see(name, fresh(oracle, name))

    return expect


@pytest.mark.parametrize("name", CASES)
def test_case(name, runner, expectations, served, request):
    if CASES[name].root and os.geteuid() != 0:
        pytest.skip("the case needs to be root")
    expected = expectations(name)
    assert expected, "a case without an observation proves nothing"
    if name in RACES:
        request.applymarker(pytest.mark.xfail(reason=RACES[name], strict=False))
    seen = runner.see(name, fresh(served, name))
    difference = DIFFERENCES.get(name)
    if "stock" in request.node.callspec.id.split("-"):
        difference = STOCK_DIFFERENCES.get(name, difference)
    if difference is not None:
        assert difference.seen.keys() <= expected.keys()
        stale = [key for key, value in difference.seen.items() if expected[key] == value]
        assert not stale, f"stale: no difference in {stale}"
        expected = {**expected, **difference.seen}
    assert seen.keys() == expected.keys()
    unlike = {key: {"expected": expected[key], "seen": seen[key]} for key in seen}
    unlike = {key: each for key, each in unlike.items() if each["expected"] != each["seen"]}
    assert not unlike, json.dumps(unlike, indent=2)


def test_differences_name_cases():
    assert DIFFERENCES.keys() | STOCK_DIFFERENCES.keys() | RACES.keys() <= CASES.keys()
    assert all(each.reason for each in (*DIFFERENCES.values(), *STOCK_DIFFERENCES.values()))
