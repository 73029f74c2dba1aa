"""What must not work inside: the host's files, processes, network, rights.

Probes of what must be refused open things and never change them, so that a sandbox that leaks
does no harm to the machine that finds out.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.bwrap,
    pytest.mark.parametrize("box", ["write", "kernel"], indirect=True),
]


@pytest.fixture
def secret() -> Iterator[str]:
    """A word in files where people keep what is their own, removed at the end."""
    word = f"canary-{uuid.uuid4().hex}"
    home = Path.home()
    places = [home / f".{word}", Path("/tmp", word), Path("/var/tmp", word), Path("/dev/shm", word)]
    if os.geteuid() == 0:
        places += [Path("/etc", word), Path("/opt", word), Path("/run", word)]
    for place in places:
        place.write_text(word)
        place.chmod(0o644)
    yield word
    for place in places:
        place.unlink()


def test_no_file_of_the_host_can_be_found_or_read(box, secret):
    script = (
        f"find / -xdev -name '*{secret}*' 2>/dev/null; find / -name '*{secret}*' -not -path"
        f" '/proc/*' 2>/dev/null; cat {Path.home()}/.{secret} /tmp/{secret} 2>/dev/null; :"
    )
    assert box.sh(script) == ""


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/shadow", "/etc/fuse.conf", "/etc/machine-id", "/etc/fstab", "/etc/ssh"),
        *("/root", "/boot", "/sys", "/opt", "/srv", "/mnt", "/media", "/var/lib", "/var/log"),
        *("/run/user", "/run/systemd", "/run/dbus", "/run/vfsd", "/dev/fuse", "/dev/kmsg"),
        *("/etc/resolv.conf", "/etc/ssl/certs", "/oldroot", "/newroot", str(Path.home())),
        *("/etc/ssl/private", "/run/docker.sock", "/var/run/docker.sock", "/run/lock"),
        *("/dev/mem", "/dev/vda", "/dev/sda", "/dev/loop0", "/dev/kvm"),
    ],
)
def test_places_that_are_not_there(box, path):
    assert box.run("--", "test", "-e", path).returncode == 1


def test_what_only_root_reads_in_proc_is_empty(box):
    """The command of root's run has root's uid, for which modes alone are no refusal."""
    script = "find /proc -maxdepth 1 -type f ! -perm -o+r -exec cat {} + 2>/dev/null | wc -c"
    assert box.sh(f"{script}; cat /proc/keys") == "0\n"


def test_names_of_users_and_of_the_machine_are_made_up(box):
    assert box.sh("id -un; id -u; hostname; getent passwd | wc -l") == (
        f"user\n{os.getuid() or 1000}\nsandbox\n2\n"
    )


def test_the_caller_s_environment_is_nowhere_inside(box, secret):
    environment = {**box.environment, "CANARY": secret, "LD_LIBRARY_PATH": f"/tmp/{secret}"}
    script = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; env"
    seen = box.sh(script, env=environment)
    assert secret not in seen


def test_of_an_almost_empty_environment_nothing_is_added_but_what_is_made_up(box):
    # LC_ALL keeps Python from setting LC_CTYPE for itself.
    caller = {name: box.environment[name] for name in ("PATH", "PYTHONPATH")} | {"LC_ALL": "C"}
    names = {line.partition("=")[0] for line in box.sh("env", env=caller).splitlines()}
    assert names == {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "LC_ALL"}


def test_no_path_of_the_host_is_told(box, secret, tmp_path):
    """Neither by bwrap's own arguments nor by the table of mounts, apart from what is bound."""
    source = tmp_path / secret
    source.mkdir()
    told = box.sh(
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'; readlink /proc/1/cwd",
        *("--ro-bind", f"{source}:/data"),
    )
    assert secret not in told


def test_only_processes_of_the_sandbox_are_seen(box):
    pids = {int(name) for name in box.sh("ls /proc").split() if name.isdigit()}
    assert pids <= set(range(1, 10))


def test_no_signal_reaches_the_host(box):
    script = f"kill -0 {os.getpid()} 2>/dev/null && echo reached; kill -0 -1; :"
    assert "reached" not in box.sh(script)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int({port})), 10)"


def test_no_network_without_being_asked(box, listener):
    assert box.sh("tail -n +3 /proc/net/dev | cut -d: -f1").split() == ["lo"]
    port = listener.getsockname()[1]
    done = box.run("--", "/usr/bin/python3", "-c", CONNECT.format(port=port))
    assert "ConnectionRefusedError" in done.stderr


def test_of_the_network_only_a_loopback_works_and_no_packet_can_be_made(box):
    box.python(
        "import socket\n"
        "assert [name for _, name in socket.if_nameindex()] == ['lo']\n"
        "assert socket.gethostbyname('localhost') == '127.0.0.1'\n"
        "for kind, address in ((socket.SOCK_STREAM, ('192.0.2.1', 80)), (socket.SOCK_RAW, None)):\n"
        "    try: socket.socket(socket.AF_INET, kind, 0 if address else 1).connect(address)\n"
        "    except OSError: continue\n"
        "    raise AssertionError(kind)\n"
    )


def test_the_host_s_network_on_request(box, listener):
    box.python(CONNECT.format(port=listener.getsockname()[1]), "--net")
    listener.accept()[0].close()


def test_a_server_inside_can_be_reached_inside(box):
    box.python(
        "import socket; s = socket.create_server(('localhost', 0));"
        "socket.create_connection(s.getsockname(), 10)"
    )


def test_abstract_sockets_of_the_host_are_out_of_reach(box):
    name = f"vfsd-{uuid.uuid4().hex}"
    script = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        done = box.run("--", "/usr/bin/python3", "-c", script.replace("\0", "\\0"))
        assert "ConnectionRefusedError" in done.stderr, done.stderr
        box.python(script.replace("\0", "\\0"), "--net")  # which is why --net says so


def test_the_daemon_s_control_socket_is_out_of_reach(box):
    runtime = box.environment["XDG_RUNTIME_DIR"]
    assert box.run("--", "test", "-e", runtime).returncode == 1


def test_only_private_places_and_the_tree_are_writable(box, mount):
    script = "find / -xdev -type d -writable -not -path '/proc/*' 2>/dev/null; :"
    assert set(box.sh(script).split()) == {"/tmp", box.sh("echo $HOME").strip()}
    private = "for d in $HOME /tmp /dev/shm /var/tmp; do echo x >$d/file && cat $d/file; done"
    assert box.sh(private) == "x\n" * 4


def test_programs_find_what_they_need(box):
    """Closed is not broken: Python's processes, SQLite, certificates, and who one is."""
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
    (box.directory / "needs.py").write_text(script)
    done = box.run("--", "/usr/bin/python3", "needs.py")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_base_shows_nothing_beside_it(box):
    (box.directory / "shown").mkdir()
    (box.directory / "beside").write_text("")
    done = box.run("--base", str(box.directory / "shown"), "--", "sh", "-c", "ls -a ..")
    assert done.stdout.split() == [".", "..", "shown"]


def test_a_bind_opens_what_it_says(box, tmp_path):
    (tmp_path / "in").write_text("in")
    assert box.sh("cat /data/in", "--ro-bind", f"{tmp_path}:/data") == "in"
    assert box.run("--ro-bind", f"{tmp_path}:/data", "--", "touch", "/data/out").returncode == 1
    box.sh("touch /data/out", "--bind", f"{tmp_path}:/data")
    assert (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["/etc/shadow", "/root", "../../../../../../etc"])
def test_a_link_made_inside_the_tree_leads_nowhere(box, target):
    """Guests can make links; inside, they point at the sandbox's own files."""
    (box.directory / "link").symlink_to(target)
    done = box.run("--", "sh", "-c", "cat link/shadow link/machine-id link; ls link/ssh")
    assert done.stdout == ""


def test_a_link_as_the_directory_to_start_in(box):
    (box.directory / "link").symlink_to("/root")
    done = box.run("--chdir", "link", "--", "ls")
    assert done.returncode == 125
    assert done.stdout == ""


def test_a_bind_into_the_tree_follows_no_link(box, tmp_path):
    """A hostile tree must not choose where on the host bwrap makes a mountpoint."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (box.directory / "link").symlink_to(f"/oldroot{victim}")
    box.run("--ro-bind", f"/usr/share:{box.directory}/link/made", "--", "true")
    (box.directory / "direct").symlink_to(victim)
    said = box.refused("--ro-bind", f"/usr/share:{box.directory}/direct/made", "--", "true")
    assert "link" in said or "exist" in said
    assert list(victim.iterdir()) == []
