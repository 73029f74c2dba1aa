"""What a project's file may say of the sandbox that holds the project: nothing that loosens it."""

from __future__ import annotations

import pytest

from vfsd.configfile.reading import read
from vfsd.configfile.running import merged
from vfsd.sandbox.limits import PIDS_DEFAULT


@pytest.fixture
def files(tmp_path):
    def write(user: str | None, project: str):
        found = []
        for name, text in (("user.toml", user), ("project.toml", project)):
            if text is None:
                found.append(None)
                continue
            (tmp_path / name).write_text("[run]\n" + text)
            found.append(read(str(tmp_path / name)))
        return merged(*found)

    return write


def test_of_two_limits_the_lower_one_counts(files):
    own = "memory = '1G'\ntimeout = '90s'\n"
    assert files(own, "memory = '1025M'\ntimeout = '1m'\ncpus = 1.5\n").values == {
        "memory": "1G",
        "timeout": "1m",
        "cpus": "1.5",
    }


def test_no_limit_is_raised_that_nobody_asked_for(files):
    values = files(None, "pids = 1000000\ndisk = '4000000T'\n").values
    assert values["pids"] == str(PIDS_DEFAULT)
    assert int(values["disk"]) < 1 << 50


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("net = true", "open the network"),
        ("allow-host = ['example.org']", "open the network"),
        ("engine = 'native'", "give up its sandbox"),
        ("env = ['TOKEN']", "take TOKEN from outside"),
        ("env = ['LD_PRELOAD=./x.so']", "set LD_PRELOAD"),
        ("env = ['PATH=./bin']", "set PATH"),
        ("env = ['https_proxy=http://x']", "set https_proxy"),
    ],
)
def test_what_loosens_is_passed_over_and_said(files, text, said):
    defaults = files(None, text)
    assert not any(defaults.values.values())
    (refusal,) = defaults.refused
    assert said in refusal
    assert "project.toml:2: run." in refusal


def test_a_project_can_close_the_network_that_its_user_opened(files):
    assert "net" not in files("net = true", "net = false").values
    assert "allow-host" not in files("allow-host = ['a.example']", "net = false").values
    assert files("net = true", "").values == {"net": True}


def test_the_user_s_own_word_goes_first(files):
    values = files("env = ['A=user']\nengine = 'fuse'", "env = ['A=theirs']\nengine = 'kernel'")
    assert values.values == {"env": ["A=theirs", "A=user"], "engine": "fuse"}
    assert files("engine = 'native'", "env = ['A=theirs']").values["env"] == []
