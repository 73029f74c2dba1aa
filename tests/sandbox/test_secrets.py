"""Canaries where people keep their own, looked for from inside by everything that can be read.

Over a directory of this machine and the kernel's overlayfs, as whoever runs the tests and as an
ordinary user where root does. What is looked through: every file outside /usr, the environment,
and of /proc all that can be read of every process, links and open files included.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sandbox.conftest import remove_settled

REPOSITORY = Path(__file__).parents[2]
USER = pwd.getpwnam("nobody")
BECOME = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups"]

pytestmark = pytest.mark.bwrap

LOOK = r"""
import json, os, stat, sys
# Backwards: the words of this very command are to be read in /proc.
words = [word[::-1].encode() for word in json.loads(sys.argv[1])]
SKIPPED = {"/proc", "/usr"}
TOO_LONG = {"kallsyms", "kcore", "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "pagemap",
            "mem", "clear_refs", "auxv", "personality", "syscall", "seccomp_cache"}
found, looked = [], 0

def look(where, content):
    global looked
    looked += 1
    for word in words:
        if word in content: found.append([where, word.decode()])

def read(path):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return
    try:
        look(path, os.read(fd, 1 << 20))
    except OSError:
        pass
    finally:
        os.close(fd)

def link(path):
    try:
        look(path, os.readlink(path).encode(errors="surrogateescape"))
    except OSError:
        pass

def walk(top, skipped, deep):
    try:
        entries = list(os.scandir(top))
    except OSError:
        return
    for entry in entries:
        look(top, os.fsencode(entry.name))
        if entry.is_symlink():
            link(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            if entry.path not in skipped and deep: walk(entry.path, skipped, deep - 1)
        elif entry.name not in TOO_LONG and not entry.path.endswith("/tty"):
            read(entry.path)

walk("/", SKIPPED, 12)
walk("/proc", set(), 5)
for place in ("/proc/1/root", "/proc/1/cwd", "/proc/self/root", "/proc/self/cwd"):
    walk(place + "/..", {place + "/../proc", place + "/../usr"}, 2)
print(json.dumps([looked, found]))
"""


@dataclass(frozen=True)
class Host:
    """A project, a store, and secrets around them; all their names have a word in them."""

    word: str
    root: Path
    home: Path
    user: list[str]

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.user, sys.executable, "-m", "vfsd", "run", "--quiet", *map(str, words)],
            cwd=self.root / "project",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPOSITORY),
                "HOME": str(self.home),
                "SECRET": self.word,
                "SSH_AUTH_SOCK": str(self.root / "agent"),
                "XDG_RUNTIME_DIR": str(self.root / "run"),
                "XDG_STATE_HOME": str(self.root / "state"),
                "XDG_CACHE_HOME": str(self.root / "cache"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def found(self, *options: object) -> list[list[str]]:
        """Return where the word is found inside."""
        words = json.dumps([self.word[::-1]])
        done = self.run(*options, "--", "/usr/bin/python3", "-c", LOOK, words)
        assert done.returncode == 0, done.stderr
        looked, found = json.loads(done.stdout)
        assert looked > 500  # it did look
        return list(found)


def _listening(path: Path, stack: ExitStack) -> None:
    """Have a Unix socket at `path`."""
    server = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
    server.bind(str(path))
    path.chmod(0o666)
    server.listen()
    stack.callback(path.unlink)


@pytest.fixture(params=["we", "an ordinary user"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    ordinary = request.param != "we"
    if ordinary and os.geteuid() != 0:
        pytest.skip("it is an ordinary user who runs these tests")
    word = f"canary{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix=f"{word}-"))
        stack.callback(remove_settled, root)
        root.chmod(0o755)
        home = root / "home"
        for name in ("run", "project", "project/.git", "home", "home/.ssh"):
            (root / name).mkdir(mode=0o700)
        (home / ".ssh" / "id_ed25519").write_text(word)
        (root / "beside").write_text(word)
        (root / "project" / "own").write_text("of the project")
        _listening(root / "agent", stack)
        if os.geteuid() == 0:
            places = [
                Path("/etc", word),
                Path("/opt", word),
                Path("/root", word),
                Path("/srv", word),
            ]
            if not Path("/run/docker.sock").exists():
                _listening(Path("/run/docker.sock"), stack)
        else:
            places = [Path.home() / f".{word}"]
        for place in (*places, Path("/tmp", word), Path("/var/tmp", word), Path("/dev/shm", word)):
            place.write_text(word)
            place.chmod(0o644)
            stack.callback(place.unlink)
        if ordinary:
            for path in (root, *root.rglob("*")):
                os.chown(path, USER.pw_uid, USER.pw_gid, follow_symlinks=False)
        yield Host(word, root, home, BECOME if ordinary else [])


def test_nothing_of_the_host_is_found(host):
    assert host.found("--at", "/work") == []


@pytest.mark.fuse
def test_nothing_is_found_through_the_fuse_engine(host):
    assert host.found("--at", "/work", "--engine", "fuse") == []


def test_nothing_is_found_in_a_layer_that_is_kept_and_in_its_fork(host):
    assert host.found("--at", "/work", "--save", "warm") == []
    assert host.found("--at", "/work", "--from", "warm") == []
    assert host.found("--at", "/work", "--from", "warm", "--save", "warmer") == []


def test_limits_and_doors_tell_nothing(host):
    doors = ("--allow-host", "localhost:1", "--publish", "0:8000")
    limits = ("--memory", "1G", "--timeout", "1m", "--disk", "50M")
    assert host.found("--at", "/work", *doors, *limits) == []


def test_without_another_place_it_is_only_the_place_of_the_base_that_is_told(host):
    """Where it is mounted, and where the command is: nothing of what is around it."""
    project = str(host.root / "project")
    script = "cat /proc/self/mountinfo /proc/self/environ | tr '\\0 ' '\\n\\n'; pwd; ls -A .."
    told = {word for word in host.run("--", "sh", "-c", script).stdout.split() if host.word in word}
    assert told <= {project, f"PWD={project}"}


def test_a_word_that_is_there_is_found(host):
    """So the search finds what there is to find."""
    places = {at for at, _ in host.found("--ro-bind", f"{host.root}/beside:/shown")}
    assert "/shown" in places
    places = {at for at, _ in host.found("--at", "/work", "--env", f"TOLD={host.word}")}
    assert any(at.endswith("/environ") for at in places)


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/shadow", "/etc/gshadow", "/run/docker.sock", "/var/run/docker.sock", "/root"),
        *("/sys/fs/cgroup", "/dev/mem", "/dev/vda", "/dev/sda", "/dev/fuse", "/dev/kvm"),
    ],
)
def test_what_is_dear_is_not_there(host, path):
    assert host.run("--", "test", "-e", path).returncode == 1


def test_no_way_out_of_the_root(host):
    """Each is a way that led out of some sandbox once."""
    script = (
        "import os, sys\n"
        "def tried(path):\n"
        "    try: return os.listdir(path)\n"
        "    except OSError: return []\n"
        "seen = set()\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    seen.update(tried(f'/proc/{pid}/root'), tried(f'/proc/{pid}/cwd/../../../..'))\n"
        "    for fd in tried(f'/proc/{pid}/fd'):\n"
        "        seen.update(tried(f'/proc/{pid}/fd/{fd}'), tried(f'/proc/{pid}/fd/{fd}/..'))\n"
        "for fd in range(3, 100): seen.update(tried(f'/dev/fd/{fd}'))\n"
        "os.chdir('/')\n"
        "for _ in range(50): os.chdir('..')\n"
        "seen.update(os.listdir('.'))\n"
        "print(sorted(seen & {'root', 'boot', 'srv', 'opt', 'sys', 'media', 'oldroot'}))\n"
    )
    # The terminal's directory, or what is given as a stream, would be in `fd`.
    assert host.run("--at", "/work", "--", "/usr/bin/python3", "-c", script).stdout == "[]\n"


def test_the_sandbox_s_processes_are_in_no_cgroup_that_they_can_leave(host):
    script = "cat /proc/self/cgroup; ls /sys 2>&1; touch /proc/self/cgroup 2>&1; :"
    said = host.run("--memory", "1G", "--", "sh", "-c", script).stdout
    assert host.word not in said
    assert "cannot access '/sys'" in said


def test_a_setuid_program_made_by_root_gains_nothing(host):
    """One of the host's in /usr, and one in the base that belongs to whoever runs the tests."""
    mine = host.root / "project" / "mine"
    shutil.copy("/usr/bin/id", mine)
    if os.geteuid() == 0:
        os.chown(mine, 0, 0)
    mine.chmod(0o4755)
    script = (
        "./mine -u; id -u; su root -c id 2>/dev/null; mount 2>/dev/null >&2; newgrp 2>/dev/null; :"
    )
    first, second, *rest = host.run("--", "sh", "-c", script).stdout.split()
    assert first == second != "0"
    assert rest == []


def test_what_is_written_inside_stays_inside(host):
    word = f"escaped-{host.word}"
    script = (
        f"for d in . .. / /tmp /var/tmp /dev/shm /dev /run /etc /usr $HOME {host.home}"
        f" {host.root}; do (echo x >$d/{word}) 2>/dev/null; done; :"
    )
    assert host.run("--", "sh", "-c", script).returncode == 0
    for place in ("/", "/tmp", "/var/tmp", "/dev/shm", "/dev", "/run", "/etc", "/usr"):
        assert not Path(place, word).exists()
    with suppress(PermissionError):
        assert list(host.root.rglob(word)) == []
