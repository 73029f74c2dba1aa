"""What must be out of reach, tried from inside by whoever runs the tests.

test_ordinary_user.py tries the same where root runs them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.conftest import Box

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

ALLOWED_ENVIRONMENT = {
    *("TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ", "NO_COLOR", "FORCE_COLOR", "CI"),
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD"),
}


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file with a secret, in each place where secrets lie."""
    with tempfile.TemporaryDirectory(prefix="canary-") as place:
        path = Path(place, "canary")
        path.write_text("canary")
        yield path


@pytest.mark.parametrize(
    "path",
    [
        *("/root", "/etc/shadow", "/etc/ssh", "/etc/ssl/private", "/etc/machine-id", "/etc/fstab"),
        *("/var/log", "/var/lib", "/sys", "/boot", "/opt", "/srv", "/mnt", "/media"),
        *("/run/systemd", "/run/user", "/run/docker.sock", "/var/run/docker.sock", "/run/lock"),
        *("/dev/fuse", "/dev/kmsg", "/dev/mem", "/dev/vda", "/dev/sda", "/dev/loop0", "/dev/kvm"),
    ],
)
def test_the_host_s_files_are_not_there(box, path):
    done = box.run("--", "ls", "-d", path)
    assert done.returncode == 2
    assert b"No such file" in done.stderr


def test_tmp_and_home_are_not_the_host_s(box, canary):
    home = Path.home()
    here = box.shell("ls -A /tmp /var/tmp $HOME; ls -A /home")
    assert canary.name not in here
    for place in (canary, home):
        if not box.mount.is_relative_to(place):
            assert box.run("--", "ls", "-d", str(place)).returncode == 2
    # The way to the mount is there, and nothing beside it.
    beside = box.shell(f"ls -A {box.mount.parent}").split()
    assert beside == [box.mount.name]


def test_what_is_written_to_private_places_never_reaches_the_host(box):
    name = f"escaped-{box.path.name}"
    box.shell(f"for d in /tmp /var/tmp $HOME /dev/shm; do echo x >$d/{name}; done")
    for place in ("/tmp", "/var/tmp", "/dev/shm", "/home/user", str(Path.home())):
        assert not Path(place, name).exists()
    left = box.shell(f"ls /tmp/{name} $HOME/{name} 2>/dev/null || true")
    assert left == ""


def test_all_else_is_read_only(box):
    script = (
        "for d in / /usr /usr/bin /usr/local /etc /etc/alternatives /home /run /var /bin /lib;"
        " do if touch $d/x 2>/dev/null; then echo $d; fi; done;"
        " for f in /etc/passwd /etc/ld.so.cache /usr/bin/env; do"
        " if : 2>/dev/null >>$f; then echo $f; fi; done"
    )
    done = box.run("--", "bash", "-c", script)
    assert done.stdout == b""


def test_the_environment_tells_nothing(box, canary):
    strange = {
        **dict.fromkeys(("SECRET", "AWS_KEY", "OLDPWD", "XDG_RUNTIME_DIR", "PYTHONPATH"), "canary"),
        **dict.fromkeys(("TZ", "LC_ALL", "LANGUAGE", "COLORTERM"), str(canary)),
    }
    done = box.run("--", "env", "-0", env={**box.environment, **strange})
    told = dict(item.split(b"=", 1) for item in done.stdout.rstrip(b"\0").split(b"\0"))
    # `_` is the shell's, LC_ the caller's.
    names = {name.decode() for name in told}
    assert {name for name in names if not name.startswith("LC_")} <= ALLOWED_ENVIRONMENT
    assert not [value for value in told.values() if b"canary" in value]


def test_proc_tells_neither_environment_nor_options_of_ours(box, canary):
    options = ("--ro-bind", f"{canary}:/shown", "--env", "TOKEN=canary-token")
    script = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'"
    environment = {**box.environment, "SECRET": str(canary)}
    done = box.run(*options, "--", "sh", "-c", script, env=environment)
    assert str(canary).encode() not in done.stdout
    # The command's own environment has it, and nothing else does.
    assert done.stdout.count(b"TOKEN=canary-token") == done.stdout.count(b"HOME=/home/user")
    outside = box.start("--env", "TOKEN=canary-token", "--", "sh", "-c", "echo ready; sleep 60")
    lines = [_cmdline(name) for name in os.listdir("/proc") if name.isdigit()]
    outside.terminate()
    outside.wait()
    outside.stdout.close()
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
        listed = box.run("--", "sh", "-c", "ls -l /proc/self/fd /proc/1/fd", close_fds=False)
    assert b"canary" not in listed.stdout
    numbers = box.run("--", "ls", "/proc/self/fd", close_fds=False).stdout.split()
    assert numbers == [b"0", b"1", b"2", b"3"]  # 3 is ls reading the directory


def test_mountinfo_names_no_place_of_the_caller_s(box, canary):
    told = box.shell("cat /proc/self/mountinfo /proc/mounts")
    assert str(canary.parent) not in told
    assert str(Path.home()) + "/" not in told
    mounted = {line.split()[4] for line in told.splitlines() if " - " in line}
    allowed = ("/usr", "/etc/", "/proc", "/dev", "/tmp", "/home/user", "/lib", "/bin", "/sbin")
    assert not [at for at in mounted if at != "/" and not at.startswith(allowed)]


def test_no_capability_and_no_way_to_one(box):
    status = dict(line.split(":\t", 1) for line in box.shell("cat /proc/self/status").splitlines())
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_one_uid_that_is_the_caller_s_and_never_root(box):
    uid, gid, mapped = box.shell("id -u; id -g; cat /proc/self/uid_map").splitlines()
    expected = (os.getuid() or 1000, os.getgid() if os.getuid() else 1000)
    assert (int(uid), int(gid)) == expected
    assert mapped.split()[0::2] == [uid, "1"]
    assert box.shell("id -un; id -gn; cd; pwd").split() == ["user", "user", "/home/user"]
    box.shell("echo x >made")
    made = (box.path / "made").stat()
    assert (made.st_uid, made.st_gid) == (os.getuid(), os.getgid())


@pytest.mark.parametrize(
    "attempt",
    [
        "mount -o remount,rw /usr",
        "mount -t tmpfs tmpfs /tmp",
        "mount --bind /proc /tmp",
        "umount /tmp",
        "unshare --user true",
        "unshare --user --map-root-user --mount true",
        "unshare --mount true",
        "chroot / true",
        "mknod device b 254 0",
        "chown 1:1 .",
        "hostname changed",
        "nice -n -5 true 2>&1 | grep -q denied && false",
        "kill -0 $OUTSIDE",
        "setpriv --reuid 0 true",
        "su -c true",
        "dmesg",
    ],
)
def test_what_takes_a_privilege_is_refused(box, attempt):
    script = f"{attempt} && echo done"
    done = box.run("--env", f"OUTSIDE={os.getpid()}", "--", "bash", "-c", script)
    assert done.stdout == b""
    assert b"not found" not in done.stderr  # it was tried, and refused


def test_a_setuid_program_in_the_tree_gains_nothing(box):
    box.shell("cp /usr/bin/id id; chmod u+s id")
    assert box.shell("./id -u; ./id -ru; grep -c . /proc/self/uid_map").split()[0] != "0"


def test_no_process_outside_can_be_seen(box):
    pids = [int(pid) for pid in box.shell("ls /proc | grep '^[0-9]'").split()]
    assert max(pids) < 10
    assert Path("/proc", str(os.getpid())).exists()


def test_no_network_but_a_loopback_of_its_own(box):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = (
            "import json, socket\n"
            "def tried(address, kind=socket.AF_INET):\n"
            "    try:\n"
            "        socket.socket(kind).connect(address)\n"
            "    except OSError as error:\n"
            "        return error.errno\n"
            "names = [name for _, name in socket.if_nameindex()]\n"
            "try:\n"
            "    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\n"
            "    raw = 'made'\n"
            "except PermissionError:\n"
            "    raw = 'refused'\n"
            "own = socket.create_server(('127.0.0.1', 0))\n"
            "socket.create_connection(own.getsockname())\n"
            f"print(json.dumps([names, tried(('127.0.0.1', {port})),"
            " tried(('192.0.2.1', 80)), raw, socket.gethostbyname('localhost')]))\n"
        )
        done = box.run("--", "/usr/bin/python3", "-c", script)
        assert done.returncode == 0, done.stderr
        names, ours, beyond, raw, local = json.loads(done.stdout)
    assert (names, raw, local) == (["lo"], "refused", "127.0.0.1")
    assert ours
    assert beyond


def test_abstract_sockets_of_the_host_are_out_of_reach_without_the_network(box):
    name = f"\0vfsd-{os.getpid()}-{box.path.name}"[:100]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        script = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"
        closed = box.run("--", "/usr/bin/python3", "-c", script)
        opened = box.run("--net", "--", "/usr/bin/python3", "-c", script)
    assert b"ConnectionRefusedError" in closed.stderr
    assert opened.returncode == 0  # as docs/SECURITY.md says


def test_with_the_network_names_and_certificates_are_there(box):
    told = box.shell("cat /etc/resolv.conf /etc/hosts; ls /etc/ssl", "--net")
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        if os.path.exists(path):
            assert Path(path).read_text() in told
    assert "private" not in told.split()
    assert "lo" not in box.shell("ls /etc").split()
    assert "resolv.conf" not in box.shell("ls /etc").split()


def test_ipc_objects_of_the_host_are_not_there(box):
    made = subprocess.run(["ipcmk", "-Q"], capture_output=True, text=True, check=True)
    number = made.stdout.split()[-1]
    try:
        rows = [line for line in box.shell("ipcs -q").splitlines() if line.startswith("0x")]
        assert rows == []
    finally:
        subprocess.run(["ipcrm", "-q", number], check=True)


def test_programs_find_what_they_need(box: Box):
    """Closed is not broken: a shell, a compiler's needs, Python's processes, and SQLite."""
    script = (
        "import multiprocessing as m, sqlite3, ssl, tempfile, pwd, os\n"
        "def twice(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    with m.Pool(2) as pool: assert pool.map(twice, [1, 2]) == [2, 4]\n"
        "    base = sqlite3.connect('base.db'); base.execute('pragma journal_mode=wal')\n"
        "    base.execute('create table t (x)'); base.commit(); base.close()\n"
        "    ssl.create_default_context(); tempfile.TemporaryFile().close()\n"
        "    assert pwd.getpwuid(os.getuid()).pw_dir == os.environ['HOME']\n"
        "    assert os.getcwd() == os.environ['PWD']\n"
    )
    (box.path / "needs.py").write_text(script)
    done = box.run("--", "/usr/bin/python3", "needs.py")
    assert (done.returncode, done.stderr) == (0, b"")
