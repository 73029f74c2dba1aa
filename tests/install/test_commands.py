"""Every block of commands in README.md and docs/ is executed, by this or by the test it names.

Each is pasted into a shell in a scene of its own, which is what the text around it speaks of.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import mounted_below
from tests.install.commands import Block, blocks
from tests.install.workplace import ROOT, run

ELSEWHERE = {
    "mkdir tree && vfsd mount tree -o size=4M": "test_readme.py",
    "make install PREFIX=$HOME/.local": "test_newcomer.py",
    "vfsd run --net --save warm -- sh -c": "test_newcomer.py",
    "vfsd service install work": "tests/service/test_systemd.py",
    "vfsd attach fsspec:": "tests/mounted/remote, against servers of its own: these are not ours",
    "make bench-peers": "test_the_benchmarks_take_what_is_shown",
    "mkdir tree project && echo one": "test_readme.py",
}
"""Blocks that another test executes, by how they begin."""

PROJECT = """
    mkdir -p project/lint && cd project
    printf '{"name":"eslint","version":"1.0.0","bin":"bin.js"}' > lint/package.json
    printf '#!/usr/bin/env node\\nrequire("fs").writeFileSync("linted", "yes")\\n' > lint/bin.js
    chmod +x lint/bin.js
    printf '{"name":"p","version":"1.0.0","scripts":{"test":"node -e 0"},
        "dependencies":{"eslint":"file:./lint"}}' > package.json
    npm install --offline --no-audit --no-fund >&2
"""

SCENES = {
    "vfsd run -- npm test": (PROJECT, "test -e linted && vfsd snapshot show warm"),
    "cd tree && vfsd snapshot create clean": (
        "mkdir tree && vfsd mount tree && touch tree/a",
        "test -e ../tree/try/a && test -e ../tree/now/a && vfsd snapshot show tried",
    ),
    "vfsd attach overlay ./mnt/app -o lower=./src -o lower=./base -o upper=./changes": (
        "mkdir mnt src base changes && echo low > base/a && vfsd mount mnt",
        "echo new > mnt/app/a && grep -q low base/a && grep -q new changes/layers/1/a",
    ),
    "source <(vfsd completion bash)": (
        "mkdir -p ~/.zfunc ~/.config/fish/completions",
        "complete -p vfsd && test -s ~/.zfunc/_vfsd && test -s ~/.config/fish/completions/*.fish",
    ),
    "vfsd mount --config tree.toml": (
        "mkdir -p src app ~/tree ~/work ~/.config/vfsd && cat > tree.toml <<'END'\nEXAMPLEEND\n"
        "printf '[mount]\\ndirectory = \"~/work\"\\n' > ~/.config/vfsd/work.toml",
        "mountpoint ~/tree && mountpoint ~/work && test -d ~/tree/app",
    ),
}
"""For each block, by its first line: what there is before, and what must hold after."""


def executed_elsewhere(block: Block) -> bool:
    return any(block.first.startswith(each) for each in ELSEWHERE)


def test_every_block_is_executed() -> None:
    """A new one needs a scene; one that is gone takes its scene with it."""
    firsts = [each.first for each in blocks()]
    assert {each.first for each in blocks() if not executed_elsewhere(each)} == set(SCENES)
    for start in ELSEWHERE:
        assert [each for each in firsts if each.startswith(start)], start


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "here").mkdir()
    yield tmp_path
    left = mounted_below(tmp_path)
    for point in left:
        run("vfsd", "unmount", "--lazy", point, XDG_RUNTIME_DIR=str(tmp_path / "run"))


@pytest.mark.fuse
@pytest.mark.bwrap
@pytest.mark.parametrize("first", SCENES)
def test_a_block_works_when_pasted(place: Path, first: str) -> None:
    if first == "vfsd run -- npm test" and not shutil.which("npm"):
        pytest.skip("needs npm, which `make demo` installs")
    (block,) = [each for each in blocks() if each.first == first]
    example = re.search(r"```toml\n(.*?)```", (ROOT / "docs/CONFIG.md").read_text(), re.S)
    assert example
    before, after = SCENES[first]
    script = f"{before.replace('EXAMPLE', example[1])}\n{block.text}\n{after}\n"
    result = run(
        *("bash", "-euo", "pipefail", "-xc", script),
        cwd=place / "here",
        HOME=str(place),
        XDG_RUNTIME_DIR=str(place / "run"),
        XDG_STATE_HOME=str(place / "state"),
        XDG_CONFIG_HOME="",
        XDG_CACHE_HOME="",
    )
    assert result.returncode == 0, result.stdout[-4000:]


def test_the_benchmarks_take_what_is_shown() -> None:
    """They run for minutes to hours, so only what the lines say is compared with the programs."""
    (block,) = [each for each in blocks() if each.first == "make bench-peers"]
    makefile = (ROOT / "Makefile").read_text()
    for line in block.text.splitlines():
        program, *words = line.partition("#")[0].split()
        if program == "make":
            assert f"\n{words[0]}:" in makefile
            continue
        assert program == "python", line
        told = run("python", words[0], "--help")
        assert told.returncode == 0, told.stdout
        for word in words[1:]:
            if word.startswith("--"):
                assert word in told.stdout, line
