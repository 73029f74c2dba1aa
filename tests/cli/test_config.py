"""`vfsd config`, and `vfsd run` by what files say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vfsd.exitcodes import ExitCode

ROOT = Path(__file__).parents[2]


@pytest.fixture
def person(tmp_path):
    """A person with a project: what runs `vfsd` there, and writes both files."""
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    home = tmp_path / "config" / "vfsd"
    home.mkdir(parents=True)
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONPATH": str(ROOT),
        "TOKEN": "secret",
    }

    def vfsd(*arguments: str, user: str | None = None, its: str | None = None):
        for path, text in ((home / "vfsd.toml", user), (project / "vfsd.toml", its)):
            if text is not None:
                path.write_text(text)
        return subprocess.run(
            [sys.executable, "-m", "vfsd", *arguments],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return vfsd


def test_check_tells_all_files_and_the_worst(person):
    done = person("config", "check", user="[run]\nnet = true\n", its="[run]\nmemroy = 1\n")
    assert done.returncode == ExitCode.USAGE
    assert done.stdout.endswith("config/vfsd/vfsd.toml: in order\n")
    assert "project/vfsd.toml:2: run.memroy: there is no such key; did you mean 'memory'?" in (
        done.stderr
    )


def test_show_gives_what_shows_the_same_again(person, tmp_path):
    text = """
        [mount]
        directory = "tree"
        [provider]
        persist = "p"
        [[attach]]
        prefix = "a b/\\"c\\""
        source = "overlay"
        options = { lower = "snapshot:x" }
    """
    (tmp_path / "t.toml").write_text(text)
    shown = person("config", "show", str(tmp_path / "t.toml"))
    assert shown.returncode == 0, shown.stderr
    (tmp_path / "again.toml").write_text(shown.stdout)
    again = person("config", "show", "--json", str(tmp_path / "again.toml"))
    first = person("config", "show", "--json", str(tmp_path / "t.toml"))
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert json.loads(first.stdout)["attach"][0]["prefix"] == 'a b/"c"'


def test_show_without_a_file_is_what_run_goes_by(person):
    done = person(
        "config", "show", "--json", user="[run]\nmemory = '2G'\n", its="[run]\nmemory = '1G'\n"
    )
    assert json.loads(done.stdout)["run"]["memory"] == "1G"


@pytest.mark.bwrap
def test_run_goes_by_both_files_and_the_command_line_first(person):
    user = "[run]\nenv = ['A=user', 'TOKEN']\nfsize = '4K'\n"
    its = "[run]\nenv = ['B=theirs', 'LD_PRELOAD=x']\nnet = true\nfsize = '1G'\n"
    script = "echo $A $B $TOKEN; ls /sys/class/net 2>/dev/null; head -c 5000 /dev/zero > f"
    done = person("run", "--", "sh", "-c", script, user=user, its=its)
    assert done.stdout.splitlines()[0] == "user theirs secret"
    assert "run.net: a project may not open the network" in done.stderr
    assert "run.env: a project may not set LD_PRELOAD" in done.stderr
    assert done.returncode != 0, "4096 bytes are the most a file may have"
    more = person("run", "--fsize", "8K", "--env", "A=mine", "--", "sh", "-c", script)
    assert more.stdout.splitlines()[0] == "mine theirs secret"
    assert more.returncode == 0, more.stderr
    none = person("run", "--no-config", "--", "sh", "-c", script)
    assert none.stdout.splitlines()[0] == ""
    assert none.returncode == 0


@pytest.mark.bwrap
def test_a_project_s_file_does_not_reach_a_command_without_a_sandbox(person):
    its = "[run]\nenv = ['A=theirs']\n"
    done = person("run", "--engine", "native", "--", "sh", "-c", "echo =$A", its=its)
    assert done.stdout == "=\n"


@pytest.mark.bwrap
def test_a_bad_file_is_told_and_nothing_runs(person):
    done = person("run", "--", "touch", "f", its="[run]\nnet = 1\n")
    assert done.returncode == ExitCode.RUN_FAILED
    assert "vfsd.toml:2: run.net: 1 is not true or false" in done.stderr
