"""A configuration file is read as it is meant, or refused with file, line and key."""

from __future__ import annotations

import os

import pytest

from providers.memory import MemoryProvider
from vfsd.config import AttachConfig, Persist
from vfsd.configfile.lines import line_of, lines_of
from vfsd.configfile.mounting import mount_config
from vfsd.configfile.reading import read
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "vfsd.toml"
        path.write_text(text)
        return str(path)

    return write


def test_all_of_a_tree(file, tmp_path):
    (tmp_path / "src").mkdir()
    path = file(
        """
        [mount]
        directory = "tree"
        poll-us = 0
        loop = "stock"
        [provider]
        size = "1G"
        persist = "work"
        persist-every = "5m"
        [[attach]]
        prefix = "/b/c/"
        source = "src"
        links = "hide"
        read-only = true
        [[attach]]
        prefix = "b"
        source = "overlay"
        options = { lower = "./src:snapshot:s", sync = false }
        """
    )
    config = mount_config(read(path), "/m", {"poll_us": 7})
    src = str(tmp_path / "src")
    assert config.options == {"size": "1G"}
    assert config.persist == Persist("work", 300.0)
    assert (config.poll_us, config.hot_loop, config.file) == (7, False, path)
    assert config.attachments == (
        AttachConfig(b"b", "overlay", {"lower": f"{src}:snapshot:s", "sync": "off"}),
        AttachConfig(b"b/c", src, {"links": "hide"}, read_only=True),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mount]\nx = [\n", ":3: "),
        ("[run]\nmemory = '1G'\nmemory = '2G'\n", ":3: "),
        ("[mount]\n\ndirectroy = 'x'\n", ":3: mount.directroy: there is no such key; did you mean"),
        ("[mont]\n", ":1: mont: there is no such table; did you mean 'mount'?"),
        ("[run]\nallow_host = []\n", "did you mean 'allow-host'?"),
        ("\n[mount]\nxattrs = 'yes'\n", ":3: mount.xattrs: 'yes' is not true or false"),
        ("[mount]\npoll-us = 99999\n", ":2: mount.poll-us: 99999 is not a number from 0"),
        ("[mount]\npoll-us = true\n", ":2: mount.poll-us: true is not a number"),
        ("[run]\nmemory = 'much'\n", ":2: run.memory: 'much' is not a size"),
        ("run = 1\n", ":1: run: is a table; write [run]"),
        ("[attach]\nprefix = 'x'\n", ":1: attach: is a list of tables; write [[attach]]"),
        ("[[attach]]\nprefix = 'a'\nsource = 's'\n[[attach]]\nsource = 'b'\n", ":4: attach[2]"),
        ("[[attach]]\nprefix = 'a/../..'\nsource = 's'\n", ":2: attach[1].prefix: must lead"),
        (
            "[[attach]]\nprefix='a'\nsource='s'\n[[attach]]\nprefix='./a'\nsource='s'\n",
            ":5: attach[2].prefix: a is attached twice",
        ),
        ("[provider]\nsize = '1G'\noptions.size = '2G'\n", ":2: provider.size: stands in options"),
        ("[provider]\npersist = '../x'\n", ":2: provider.persist: '../x' is not a name"),
        ("[provider]\npersist = 'x'\npersist-every = '0.1s'\n", ":3: provider.persist-every"),
        ("[provider]\npersist-every = '5s'\n", "persist is not there"),
        ("[run]\nenv = ['=x']\n", ":2: run.env"),
        ('[run]\n"\\u001b[31m" = 1\n', "run.'\\x1b[31m'"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_mistakes_are_told_with_line_and_key(file, text, said):
    path = file(text)
    with pytest.raises(UserError) as caught:
        mount_config(read(path), "/m", {})
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.message.startswith(path)
    assert said in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("written", "size"),
    [("1.5G", "1536M"), ("64MiB", "64M"), ("64mb", "64M"), ("1000", "1000"), ("2K", "2K")],
)
async def test_a_quota_may_be_written_as_a_limit_of_a_run(file, written, size):
    config = mount_config(read(file(f'[provider]\nsize = "{written}"\n')), "/m", {})
    assert config.options == {"size": size}
    provider = await MemoryProvider.from_options(None, config.options)
    await provider.aclose()


def test_one_name_for_two_trees_is_refused(file):
    path = file("[provider]\npersist='a'\n[[attach]]\nprefix='x'\nsource='memory'\npersist='a'\n")
    with pytest.raises(UserError, match="'a' is the name of two trees"):
        mount_config(read(path), "/m", {})


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long").write_text("#" * (1 << 20) + "#")
    (tmp_path / "binary").write_bytes(b"# ok\n\xff")
    for name, said in (
        ("fifo", "is not a file"),
        ("long", "longer than 1 MiB"),
        ("binary", "binary:2: this is not UTF-8"),
        ("none", "there is no configuration file"),
    ):
        with pytest.raises(UserError, match=said):
            read(str(tmp_path / name))


def test_lines_go_by_what_toml_says():
    text = """\
a = '''
[b]
c = 1
'''
"d.e" = [ # ]
  "]", '[x]',
]
[t."q.r"]  # comment
x.y = "\\"=" # = 3
x.z = { b = 1 }
[[l]]
[[l]]
k = 1
[l.in]
k = 2
m = \"""
k = 3 \\\"""
\"\"""
n = 1
"""
    lines = lines_of(text)
    assert line_of(lines, ("a",)) == 1
    assert line_of(lines, ("d.e",)) == 5
    assert line_of(lines, ("t", "q.r")) == 8
    assert line_of(lines, ("t", "q.r", "x")) == 9
    assert line_of(lines, ("t", "q.r", "x", "z", "b")) == 10
    assert line_of(lines, ("l", 1, "k")) == 13
    assert line_of(lines, ("l", 1, "in", "k")) == 15
    assert line_of(lines, ("l", 1, "in", "n")) == 19
    assert ("b",) not in lines
