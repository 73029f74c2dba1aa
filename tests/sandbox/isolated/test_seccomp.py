"""The filter of system calls: what a compiled program tries inside, and what programs need."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.isolated.conftest import Box
from vfsd.sandbox import seccomp, syscalls
from vfsd.sandbox.libseccomp import compile_filter

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

HERE = Path(__file__).parent
DOCUMENT = (HERE.parents[2] / "docs" / "SECURITY.md").read_text()

KILLED = 255  # attempts.c tells it of a child that a signal ended

REFUSED = {
    **dict.fromkeys(("add_key", "keyctl", "request_key"), errno.EPERM),
    **dict.fromkeys(("mount tmpfs", "remount /", "remount /usr", "umount2"), errno.EPERM),
    **dict.fromkeys(("pivot_root", "chroot", "unshare user", "unshare mount"), errno.EPERM),
    **dict.fromkeys(("setns", "clone user", "clone net", "clone mount"), errno.EPERM),
    **dict.fromkeys(("fsopen", "open_tree", "move_mount", "mount_setattr"), errno.ENOSYS),
    **dict.fromkeys(("clone3", "io_uring_setup", "newer than the list"), errno.ENOSYS),
    **dict.fromkeys(("bpf", "perf_event_open", "userfaultfd", "kexec_load"), errno.EPERM),
    **dict.fromkeys(("init_module", "finit_module", "delete_module", "reboot"), errno.EPERM),
    **dict.fromkeys(("swapon", "settimeofday", "sethostname", "syslog"), errno.EPERM),
    **dict.fromkeys(("fanotify_init", "quotactl", "open_by_handle_at"), errno.EPERM),
    **dict.fromkeys(("netlink netfilter", "netlink uevent"), errno.EPROTONOSUPPORT),
    **dict.fromkeys(("raw", "raw close-on-exec", "raw 6", "packet, older"), errno.EPERM),
    **dict.fromkeys(("packet", "AF_ALG", "AF_VSOCK", "AF_KEY"), errno.EAFNOSUPPORT),
    **dict.fromkeys(("AF_BLUETOOTH", "packet, high bits"), errno.EAFNOSUPPORT),
    "AF_ALG, high bits": errno.EAFNOSUPPORT,
    **dict.fromkeys(("TIOCSTI", "TIOCSTI, high bits", "TIOCLINUX"), errno.EPERM),
    "personality, readable is executable": errno.ENOSYS,
    "i386": KILLED,
    "x32": KILLED,
}
"""What the filter refuses, and how."""

REFUSED_ANYWAY = {
    "ptrace of outside": {errno.ESRCH},
    "kill of outside": {errno.ESRCH},
    "pidfd of outside": {errno.ESRCH},
    "setuid": {errno.EINVAL, errno.EPERM},
    "keep capabilities": {errno.EPERM},
    "new privileges again": {errno.EINVAL},
    "device node": {errno.EPERM},
    "core pattern": {errno.EROFS, errno.EACCES},
    "sysrq": {errno.EROFS, errno.EACCES, errno.ENOENT},
    "memory of the kernel": {errno.EACCES, errno.EPERM, errno.ENOENT},
    "uid_map": {errno.EROFS, errno.EACCES},
    "cgroup": {errno.ENOENT},
    "memory of pid 1": {errno.EACCES, errno.EROFS},
    "root of pid 1": {errno.EACCES, errno.ENOENT},
}
"""What namespaces and the lack of capabilities refuse, with the filter and without it."""

LET_THROUGH = {
    *("clone", "AF_INET", "AF_INET6", "AF_UNIX", "netlink route", "FIONREAD"),
    *("personality, the question", "personality, no random addresses", "ptrace of oneself"),
}


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("attempts") / "attempts"
    subprocess.run(["gcc", "-O1", "-o", program, HERE / "attempts.c"], check=True)
    return program


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tried(box: Box, attempts: Path, *options: str) -> dict[str, int]:
    outside = str(os.getpid())
    done = box.run("--ro-bind", f"{attempts}:/attempts", *options, "--", "/attempts", outside)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def parsed(said: str) -> dict[str, int]:
    lines = (line.rsplit(" ", 1) for line in said.splitlines())
    return {name: int(number) for name, number in lines}


@pytest.mark.parametrize("box", ["write", "kernel"], indirect=True)
def test_what_is_refused(box, attempts):
    found = tried(box, attempts)
    assert {name: found.pop(name) for name in REFUSED} == REFUSED
    assert {name for name, codes in REFUSED_ANYWAY.items() if found.pop(name) not in codes} == set()
    assert found == dict.fromkeys(LET_THROUGH, 0)


def test_a_command_that_joins_a_run_is_refused_the_same(box, attempts):
    words = ("--ro-bind", f"{attempts}:/attempts", "--", "sh", "-c", "echo up; read x")
    running = box.start(*words, stdin=subprocess.PIPE)
    assert running.stdout.readline() == b"up\n"
    (run,) = Path(box.environment["XDG_RUNTIME_DIR"], "vfsd", "runs").iterdir()
    words = [sys.executable, "-m", "vfsd", "exec", run.name, "--"]

    def joined(*command: str) -> str:
        return subprocess.run(
            [*words, *command], env=box.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip

    found = parsed(joined("/attempts", str(os.getpid())))
    assert {name: found.pop(name) for name in REFUSED} == REFUSED
    assert {name for name, codes in REFUSED_ANYWAY.items() if found.pop(name) not in codes} == set()
    assert found == dict.fromkeys(LET_THROUGH, 0)
    status = dict(line.split(":\t", 1) for line in joined("cat", "/proc/self/status").splitlines())
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "2")
    assert joined("ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]  # ls reads the directory
    shown = joined("sh", "-c", "readlink /proc/self/exe /proc/self/cwd /proc/self/root; env")
    assert str(Path(sys.executable).parent) not in shown
    running.communicate(timeout=60)
    assert running.returncode == 1  # its input has ended


def test_the_filter_is_what_refuses(box, attempts):
    """Without it, keyrings and the rest are in reach: the attempts are real ones."""
    found = tried(box, attempts, "--no-seccomp")
    through = {name for name in REFUSED if found[name] == 0}
    assert through >= {"add_key", "keyctl", "netlink uevent", "x32", "i386"} - _absent_here()
    assert {name for name, codes in REFUSED_ANYWAY.items() if found[name] not in codes} == set()


def _absent_here() -> set[str]:
    """Kernels are built without the older ways of calling them."""
    return {"x32", "i386"}


def test_every_process_has_it_and_nobody_can_take_it_off(box):
    script = "grep -h -E 'Seccomp|NoNewPrivs' /proc/1/status /proc/self/status"
    told = box.sh(script).split()
    assert told == ["NoNewPrivs:", "1", "Seccomp:", "2", "Seccomp_filters:", "2"] * 2
    assert box.sh("grep Seccomp: /proc/self/status", "--no-seccomp").split()[1] == "0"


@pytest.mark.parametrize(
    ("heading", "listed"),
    [
        ("calls allowed", syscalls.ALLOWED),
        ("calls absent", syscalls.ABSENT),
        ("sockets", tuple(syscalls.FAMILIES)[1:]),
        ("ioctl", tuple(syscalls.TERMINAL_REQUESTS)),
        ("clone", tuple(syscalls.CLONE_FLAGS)),
        *((f"refused: {about}", calls) for about, calls in syscalls.REFUSED.items()),
    ],
)
def test_the_document_lists_what_the_filter_does(heading, listed):
    section = re.search(rf"<!-- {heading} -->\n(.+)\n", DOCUMENT)
    assert section, heading
    assert sorted(re.findall(r"`([^`]+)`", section[1])) == sorted(listed)


def test_no_call_stands_in_two_lists():
    refused = [call for calls in syscalls.REFUSED.values() for call in calls]
    listed = [*syscalls.ALLOWED, *refused, *syscalls.ABSENT]
    assert len(listed) == len(set(listed))


def test_a_program_the_kernel_takes():
    for program in seccomp.programs():
        assert len(program) % seccomp.INSTRUCTION_BYTES == 0
        assert 0 < len(program) <= seccomp.PROGRAM_LIMIT_BYTES
    assert compile_filter(0, ())


def test_it_is_made_once_and_again_when_the_file_is_not_right(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = seccomp.programs()
    (kept,) = (tmp_path / "vfsd").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    right = kept.read_bytes()
    assert seccomp.decoded(right) == made
    for wrong in (b"", right[:-8], right[:40] + b"\0\1" + right[42:], b"x" * 5000):
        kept.write_bytes(wrong)
        assert seccomp.programs() == made
        assert kept.read_bytes() == right
    # What another user could have written, or a link to it, is not used.
    kept.write_bytes(seccomp.encoded((b"12345678", b"12345678")))
    kept.chmod(0o622)
    assert seccomp.programs() == made
    kept.unlink()
    (tmp_path / "planted").write_bytes(seccomp.encoded((b"12345678", b"12345678")))
    kept.symlink_to(tmp_path / "planted")
    assert seccomp.programs() == made


def test_no_place_to_keep_it_is_no_reason_to_go_without(tmp_path, monkeypatch):
    made = seccomp.programs()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/absent")
    monkeypatch.setenv("HOME", "relative")
    assert seccomp.programs() == made
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert seccomp.programs() == made


def test_without_libseccomp_nothing_runs_and_the_remedy_is_named(box, tmp_path):
    """In a process whose dynamic loader does not find the library."""
    script = (
        "import ctypes, sys\n"
        "found = ctypes.CDLL\n"
        "def missing(name, *rest, **more):\n"
        "    if 'seccomp' in str(name): raise OSError(f'{name}: cannot open shared object file')\n"
        "    return found(name, *rest, **more)\n"
        "ctypes.CDLL = missing\n"
        "from vfsd.cli.main import main\n"
        "sys.argv = ['vfsd', 'run', '--write', *sys.argv[1:]]\n"
        "sys.exit(main())\n"
    )
    environment = {**box.environment, "XDG_CACHE_HOME": str(tmp_path)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *words, "--", "touch", "ran"],
            cwd=box.directory, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    done = run()
    assert done.returncode == 125
    assert "apt-get install libseccomp2" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (box.directory / "ran").exists()
    assert run("--no-seccomp").returncode == 0
    assert (box.directory / "ran").exists()
