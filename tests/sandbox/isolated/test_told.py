"""What a command is told of the host by what it gets: environment, /proc, mounts, names."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.bwrap,
    pytest.mark.parametrize("box", ["write", "kernel"], indirect=True),
]

ALLOWED_ENVIRONMENT = {
    *("TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ", "NO_COLOR", "FORCE_COLOR", "CI"),
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD"),
}


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file with a secret, in a place where secrets lie."""
    with tempfile.TemporaryDirectory(prefix="canary-") as place:
        path = Path(place, "canary")
        path.write_text("canary")
        yield path


def test_the_environment_tells_nothing(box, canary):
    strange = {
        **dict.fromkeys(("SECRET", "AWS_KEY", "OLDPWD", "XDG_RUNTIME_DIR", "PYTHONPATH"), "canary"),
        **dict.fromkeys(("TZ", "LC_ALL", "LANGUAGE", "COLORTERM"), str(canary)),
    }
    environment = {**box.environment, **strange, "PYTHONPATH": box.environment["PYTHONPATH"]}
    runtime = box.environment["XDG_RUNTIME_DIR"]
    seen = box.sh("env -0", env={**environment, "XDG_RUNTIME_DIR": runtime})
    told = dict(item.split("=", 1) for item in seen.rstrip("\0").split("\0"))
    # `_` is the shell's, LC_ the caller's.
    names = {name for name in told if not name.startswith("LC_")}
    assert names <= ALLOWED_ENVIRONMENT
    assert not [value for value in told.values() if "canary" in value]


def test_proc_tells_neither_environment_nor_options_of_ours(box, canary):
    options = ("--ro-bind", f"{canary}:/shown", "--env", "TOKEN=canary-token")
    script = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'"
    seen = box.sh(script, *options, env={**box.environment, "SECRET": str(canary)})
    assert str(canary) not in seen
    # The command's own environment has it, and nothing else does.
    assert seen.count("TOKEN=canary-token") == seen.count("HOME=/home/user")


def test_the_host_s_table_of_processes_tells_no_value_of_bwrap_s(box):
    running = box.start("--env", "TOKEN=canary-token", "--", "sh", "-c", "echo ready; sleep 60")
    assert running.stdout.readline() == b"ready\n"
    lines = [_cmdline(name) for name in filter(str.isdigit, os.listdir("/proc"))]
    bwraps = [line for line in lines if line.startswith(b"bwrap\0")]
    assert bwraps
    assert not [line for line in bwraps if b"canary-token" in line]


def _cmdline(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return b""


def test_no_open_file_of_the_caller_s_gets_in(box, canary):
    with open(canary, "rb") as secret:
        os.set_inheritable(secret.fileno(), True)
        script = "ls -l /proc/self/fd /proc/1/fd 2>/dev/null; :"
        assert "canary" not in box.sh(script, close_fds=False)
    # 3 is ls reading the directory.
    assert box.run("--", "ls", "/proc/self/fd", close_fds=False).stdout.split() == [*"0123"]


def test_mountinfo_names_no_place_of_the_caller_s(box, mount, canary):
    told = box.sh("cat /proc/self/mountinfo /proc/mounts")
    assert str(canary.parent) not in told
    assert str(Path.home()) + "/" not in told
    mounted = {line.split()[4] for line in told.splitlines() if " - " in line}
    allowed = ("/usr", "/etc/", "/proc", "/dev", "/tmp", "/home/user", "/lib", "/bin", "/sbin")
    assert not [at for at in mounted if at != "/" and not at.startswith(allowed)]


def test_the_way_to_the_tree_is_there_and_nothing_beside_it(box, mount):
    assert box.sh(f"ls -A {mount.path.parent}").split() == [mount.path.name]
    assert box.run("--", "ls", "-d", str(Path.home())).returncode == 2
    assert "canary" not in box.sh("ls -A /tmp /var/tmp $HOME /home /dev/shm")


def test_what_is_written_to_private_places_is_seen_by_nobody_else_and_gone_afterwards(box):
    name = f"escaped-{box.directory.name}"
    box.sh(f"for d in /tmp /var/tmp $HOME /dev/shm; do echo x >$d/{name}; done")
    for place in ("/tmp", "/var/tmp", "/dev/shm", "/home/user", str(Path.home())):
        assert not Path(place, name).exists()
    assert box.sh(f"ls /tmp/{name} $HOME/{name} 2>/dev/null || :") == ""


def test_one_uid_that_is_the_caller_s_and_never_root(box):
    uid, gid, mapped = box.sh("id -u; id -g; cat /proc/self/uid_map").splitlines()
    expected = (os.getuid() or 1000, os.getgid() if os.getuid() else 1000)
    assert (int(uid), int(gid)) == expected
    assert mapped.split()[0::2] == [uid, "1"]
    assert box.sh("id -un; id -gn; cd; pwd").split() == ["user", "user", "/home/user"]
    assert box.sh("echo x >made; stat -c %u:%g made") == f"{uid}:{gid}\n"
    made = box.directory / "made"
    if "--write" in box.mode:
        assert (made.stat().st_uid, made.stat().st_gid) == (os.getuid(), os.getgid())
    else:
        assert not made.exists()


def test_with_the_network_names_and_certificates_are_there(box):
    told = box.sh("cat /etc/resolv.conf /etc/hosts; ls /etc/ssl", "--net")
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        if os.path.exists(path):
            assert Path(path).read_text() in told
    assert "private" not in told.split()
    assert "resolv.conf" not in box.sh("ls /etc").split()


def test_ipc_objects_of_the_host_are_not_there(box):
    made = subprocess.run(["ipcmk", "-Q"], capture_output=True, text=True, check=True)
    number = made.stdout.split()[-1]
    try:
        rows = [line for line in box.sh("ipcs -q").splitlines() if line.startswith("0x")]
        assert rows == []
    finally:
        subprocess.run(["ipcrm", "-q", number], check=True)
