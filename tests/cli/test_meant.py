"""A mistyped word of any kind is told the right one, by the verb that it was given to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vfsd.cli.parsers import everything
from vfsd.exitcodes import ExitCode

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with a configuration, a snapshot and a tree to work on."""
    root = tmp_path_factory.mktemp("meant")
    (root / "config" / "vfsd").mkdir(parents=True)
    (root / "config/vfsd/work.toml").write_text("[mount]\nxattrs = true\n")
    (root / "tree.toml").write_text("[muont]\n")
    (root / "keys.toml").write_text("[mount]\nxatrs = true\n")
    (root / "project").mkdir()
    (root / "file").write_text("data")
    say(root, "snapshot", "import", make_tar(root), "warm")
    return root


def make_tar(root: Path) -> str:
    subprocess.run(["tar", "-cf", "warm.tar", "file"], cwd=root, check=True)
    return "warm.tar"


def say(root: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vfsd", *words],
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(root / "state"),
            "XDG_CONFIG_HOME": str(root / "config"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return f"{done.returncode} {done.stderr}"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("snapshot", "show", "wram"), "did you mean 'warm'?"),
        (("snapshot", "rm", "wram"), "did you mean 'warm'?"),
        (("snapshot", "mv", "wram", "cold"), "did you mean 'warm'?"),
        (("snapshot", "export", "wram", "-o", "out"), "did you mean 'warm'?"),
        (("snapshot", "verify", "wram"), "did you mean 'warm'?"),
        (("diff", "wram"), "did you mean 'warm'?"),
        (("diff", "snapshot:wram"), "did you mean 'warm'?"),
        (("apply", "wram"), "did you mean 'warm'?"),
        (("pack", "snapshot:wram", "-o", "out.vfsa"), "did you mean 'warm'?"),
        (("run", "--from", "wram", "--", "true"), "did you mean 'warm'?"),
        (("run", "--tiemout", "1s", "--", "true"), "did you mean --timeout?"),
        (("run", "--engine", "kernle", "--", "true"), "did you mean 'kernel'?"),
        (("config", "shwo"), "did you mean show?"),
        (("config", "check", "tree.toml"), "did you mean 'mount'?"),
        (("config", "check", "keys.toml"), "did you mean 'xattrs'?"),
        (("config", "show", "wokr"), "did you mean "),
        (("service", "instal", "work"), "did you mean install?"),
        (("completion", "bsh"), "did you mean bash?"),
        (("diff", "--colour", "warm"), "did you mean --color?"),
        (("diff", "--color", "allways", "warm"), "did you mean always?"),
        (("diff", "--color=allways", "warm"), "did you mean always?"),
        (("list", "--jsno", "x"), "did you mean --json?"),
        (("unpakc", "x", "y"), "did you mean 'vfsd unpack'?"),
    ],
)
def test_a_mistyped_word_is_told_the_right_one(place, words, hint):
    assert hint in say(place, *words)


@pytest.mark.fuse
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("memroy",), "did you mean 'memory'?"),
        (("passthrogh:./project",), "did you mean 'passthrough'?"),
        (("snapshto:warm",), "did you mean 'snapshot'?"),
        (("snapshot:wram",), "did you mean 'warm'?"),
        (("memory", "-o", "sise=1M"), "did you mean 'size'?"),
        (("./project", "-o", "lniks=keep"), "did you mean 'links'?"),
        (("overlay", "-o", "lowre=./project"), "did you mean 'lower'?"),
        (("warm.tar", "-o", "onwer=me"), "did you mean 'owner'?"),
    ],
)
def test_a_mistyped_source_is_told_the_right_one(place, words, hint):
    (place / "mount").mkdir(exist_ok=True)
    told = say(place, "mount", "mount", *words)
    assert hint in told
    assert not told.startswith("0")


def test_every_option_of_every_verb_is_told():
    """One letter is missing: the option itself, or one as near, is what was meant."""
    from vfsd.cli.parsers import meant_word

    for words in everything():
        if words.verb == "run":
            continue
        verb, _, inner = words.verb.partition(" ")
        for flag in words.flags:
            for name in (each for each in flag.names if len(each) > 5):
                typed = [*filter(None, [inner]), name[:-2] + name[-1]]
                assert (meant_word(verb, typed) or "")[:5] == name[:5], (words.verb, name)


def test_every_option_of_run_is_told(place):
    (run,) = [each for each in everything() if each.verb == "run"]
    from vfsd.cli.runoptions import read
    from vfsd.errors import UserError

    for flag in run.flags:
        name = flag.names[0]
        with pytest.raises(UserError, match="did you mean --") as caught:
            read([name + "x", "--", "true"])
        assert f"did you mean {name}?" in caught.value.message
        assert caught.value.exit_code == ExitCode.RUN_FAILED


def test_what_is_like_nothing_gets_no_hint(place):
    for words in (("snapshot", "show", "zzzz"), ("run", "--zzzz", "--", "true"), ("mount", "zzzz")):
        assert "did you mean" not in say(place, *words)
