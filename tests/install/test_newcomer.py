"""From an empty machine to a warm snapshot of a project of one's own, with README's words only.

It takes minutes and hundreds of megabytes, so it runs where VFSD_REQUIRE names "newcomer". How long
each step took is printed (pytest -s), and recorded in docs/PERFORMANCE.md; it is no reason to fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.install.bare import BareMachine
from tests.install.commands import blocks
from tests.install.workplace import ROOT

pytestmark = [
    *(pytest.mark.network, pytest.mark.root, pytest.mark.fuse, pytest.mark.bwrap),
    pytest.mark.skipif(
        "newcomer" not in os.environ.get("VFSD_REQUIRE", "").split(","),
        reason='installs a Debian of its own; VFSD_REQUIRE="newcomer" runs it (apt: debootstrap)',
    ),
]

PROJECT = """
    mkdir project && cd project
    printf 'attrs\\n' > requirements.txt
    printf 'import attrs, unittest\\nclass T(unittest.TestCase):\\n    def test(self): pass\\n' \\
        > test_it.py
"""


@pytest.fixture
def machine() -> Iterator[BareMachine]:
    place = Path(tempfile.mkdtemp(prefix="vfsd-bare-", dir="/var/tmp"))
    place.chmod(0o755)
    try:
        yield BareMachine(place)
    finally:
        shutil.rmtree(place)


def shown(start: str) -> str:
    (block,) = [each for each in blocks() if each.first.startswith(start)]
    return block.text


def test_a_newcomer_gets_to_a_warm_snapshot(machine: BareMachine) -> None:
    clone = machine.root / "home" / "me" / "vfsd"
    clone.mkdir()
    listed = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    names = subprocess.run(listed, check=True, capture_output=True).stdout
    packed = ["tar", "-C", str(ROOT), "--null", "--ignore-failed-read", "-T", "-", "-cf", "-"]
    tar = subprocess.run(packed, input=names, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-C", str(clone), "--no-same-owner", "-xf", "-"], input=tar, check=True)
    subprocess.run(["chown", "-R", "1000:1000", clone], check=True)

    began = time.monotonic()
    told, code = machine.as_user(f"cd vfsd\n{shown('make install')}")
    print(told, f"\ninstalled after {time.monotonic() - began:.0f} s")
    assert code == 0, told
    assert "it is not on the path" in told
    assert "MISSING" not in told
    first = shown("vfsd run --net --save warm -- sh")
    told, code = machine.as_user(
        f"PATH=$HOME/.local/bin:$PATH\n{PROJECT}\n{first}\nls -A; vfsd snapshot ls"
    )
    print(told, f"\na warm snapshot was used after {time.monotonic() - began:.0f} s")
    assert code == 0, told
    assert "Ran 1 test" in told
    listed = told.partition("+ ls -A\n")[2].partition("+ vfsd")[0].split()
    assert listed == ["requirements.txt", "test_it.py"], "the project is as it was"
    assert "\nwarm " in told
