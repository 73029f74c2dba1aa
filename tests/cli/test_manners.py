"""How every verb behaves towards what it writes to: a terminal, a pipe, a program that reads JSON.

Progress is shown as soon as there is any here, by a start that does not wait a second for it.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from tests.daemon.conftest import Place, make_place
from vfsd.cli.parsers import everything

pytestmark = pytest.mark.fuse

COLOUR = re.compile(rb"\x1b\[[0-9;:]*?(?<![0-9])(3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;:]*m")
"""An escape sequence that sets a colour; bold, and moving about, are none."""
AT_ONCE = (
    "import sys, vfsd.cli.progress, vfsd.cli.main;"
    "vfsd.cli.progress.SILENT_SECONDS = -1;"
    "sys.argv[0] = 'vfsd'; sys.exit(vfsd.cli.main.main())"
)

WORDS: dict[str, list[str]] = {
    "status": ["mount"],
    "tree": ["mount"],
    "top": ["-n", "1", "--interval", "0.02", "mount"],
    "events": ["-n", "1", "mount"],
    "logs": ["mount"],
    "ls": ["-l", "mount"],
    "snapshot ls": [],
    "snapshot show": ["warm"],
    "snapshot rm": ["gone"],
    "snapshot verify": ["warm"],
    "diff": ["warm", "other"],
    "gc": ["-n"],
    "ps": [],
    "verify": ["a.vfsa"],
    "list": ["-l", "a.vfsa"],
    "config check": ["tree.toml"],
    "config show": ["tree.toml"],
    "doctor": [],
}
"""What is asked of each verb that knows --json, but for those in `ELSEWHERE`."""
ELSEWHERE = {
    "apply": "needs a base that was changed since: test_apply.py",
    "service status": "needs a service manager: tests/service",
    "service logs": "needs a journal: tests/service",
}
LISTS_NOTHING = {
    *("mount", "unmount", "attach", "detach", "fork", "cat", "put", "get", "run", "exec", "kill"),
    *("snapshot", "snapshot create", "snapshot mv", "snapshot export", "snapshot import"),
    *("pack", "unpack", "config", "service", "completion"),
    *(f"service {each}" for each in ("install", "start", "stop", "restart", "reload", "uninstall")),
}
PROGRESS = {
    "put": ["-r", "many", "mount/put"],
    "pack": ["many", "-o", "again.vfsa"],
    "verify": ["a.vfsa"],
    "unpack": ["a.vfsa", "unpacked"],
    "snapshot create": ["frozen", "mount", "--replace"],
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A mount, an archive and two snapshots that differ."""
    place = make_place(tmp_path_factory.mktemp("manners"))
    root = place.root
    (root / "many").mkdir()
    for number in range(50):
        (root / "many" / f"{number}").write_text(f"{number}\n")
    (root / "tree.toml").write_text("[mount]\nxattrs = true\n")
    place.vfsd("mount", place.mount)
    place.vfsd("put", "-r", "many", "mount/many")
    for name in ("warm", "other"):
        (place.mount / "many" / "0").write_text(name)
        place.vfsd("snapshot", "create", name, "mount")
    place.vfsd("pack", "many", "-o", "a.vfsa")
    yield place
    place.vfsd("unmount", place.mount)


def taken(flag: str) -> set[str]:
    return {words.verb for words in everything() for each in words.flags if flag in each.names}


def prepare(place: Place, verb: str) -> None:
    if verb == "snapshot rm":
        place.vfsd("snapshot", "create", "gone", "mount", "--replace")
    if verb == "unpack":
        subprocess.run(["rm", "-rf", place.root / "unpacked"], check=True)
        (place.root / "unpacked").mkdir()
    if verb == "pack":
        (place.root / "again.vfsa").unlink(missing_ok=True)


def start(place: Place, verb: str, *words: str, **how) -> subprocess.Popen[bytes]:
    prepare(place, verb)
    program = [sys.executable, "-c", AT_ONCE, *verb.split(), *words]
    environment = {**place.environment, "TERM": "xterm-256color", **how.pop("environment", {})}
    child = subprocess.Popen(
        program, cwd=place.root, env=environment, stdin=subprocess.DEVNULL, **how
    )
    if verb == "events":
        while child.poll() is None:  # it may not watch yet
            (place.mount / "many" / "1").write_text("changed")
            time.sleep(0.01)
    return child


def on_terminal(place: Place, verb: str, *words: str, **environment: str) -> bytes:
    """Return all that a terminal gets, of both its output and its messages."""
    controller, terminal = pty.openpty()
    child = start(place, verb, *words, environment=environment, stdout=terminal, stderr=terminal)
    os.close(terminal)
    got = b""
    try:
        while more := os.read(controller, 1 << 16):
            got += more
    except OSError:  # EIO: the other side is closed
        pass
    os.close(controller)
    child.wait(60)
    return got


def piped(place: Place, verb: str, *words: str) -> tuple[bytes, bytes]:
    child = start(
        place,
        verb,
        *words,
        environment={"FORCE_COLOR": "", "NO_COLOR": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return child.communicate(timeout=60)


def test_every_verb_is_looked_at():
    """A new verb has to say here whether it lists anything; if it does, it knows --json."""
    assert taken("--json") == {*WORDS, *ELSEWHERE}
    assert {words.verb for words in everything()} == {*WORDS, *ELSEWHERE, *LISTS_NOTHING}


@pytest.mark.parametrize("verb", WORDS)
def test_json_is_json_and_nothing_else(here, verb):
    out, _ = piped(here, verb, "--json", *WORDS[verb])
    try:
        told = [json.loads(out)]
    except json.JSONDecodeError:
        told = [json.loads(line) for line in out.splitlines()]
    assert told
    assert all(isinstance(each, dict | list) for each in told)


@pytest.mark.parametrize("verb", [*WORDS, *PROGRESS])
def test_no_colour_where_nobody_wants_any(here, verb):
    words = WORDS.get(verb) or PROGRESS.get(verb, [])
    assert not COLOUR.search(on_terminal(here, verb, *words, NO_COLOR="1"))


@pytest.mark.parametrize("verb", [*WORDS, *PROGRESS])
def test_into_a_pipe_goes_no_escape_sequence(here, verb):
    words = WORDS.get(verb) or PROGRESS.get(verb, [])
    out, errors = piped(here, verb, *words)
    assert b"\x1b" not in out + errors


@pytest.mark.parametrize("verb", PROGRESS)
def test_progress_is_shown_on_a_terminal_and_into_no_pipe(here, verb):
    shown = on_terminal(here, verb, *PROGRESS[verb])
    assert b"files, " in shown
    assert COLOUR.search(shown), "the test would not notice colours"
    _, errors = piped(here, verb, *PROGRESS[verb])
    assert b"files, " not in errors
    assert b"\r" not in errors
