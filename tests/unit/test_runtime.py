"""Where sockets live, who may be trusted with them, and which daemon serves a path."""

import os
import socket
import stat
import threading

import pytest

from vfsd import mountinfo, runtime
from vfsd.errors import UserError
from vfsd.exitcodes import Code, ExitCode


@pytest.fixture
def directory(tmp_path, monkeypatch):
    above = tmp_path / "run"
    above.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(above))
    return above / "vfsd"


def refused(code: Code):
    return pytest.raises(UserError, check=lambda error: error.exit_code == code)


def test_the_directory_is_private_and_so_is_the_socket(directory):
    endpoint = runtime.bind(b"/somewhere")
    try:
        assert stat.S_IMODE(os.lstat(directory).st_mode) == 0o700
        assert stat.S_IMODE(os.lstat(endpoint.path).st_mode) == 0o600
        assert endpoint.path == runtime.socket_path(b"/somewhere")
    finally:
        endpoint.close()
    assert not endpoint.path.exists()


def test_the_fallback_depends_on_the_user(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert str(runtime.runtime_directory()) == "/run/vfsd"
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert str(runtime.runtime_directory()) == "/tmp/vfsd-1234"


def test_another_users_xdg_runtime_dir_is_not_taken(directory, monkeypatch):
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert runtime.runtime_directory() != directory


@pytest.mark.parametrize("trap", ["open", "symlink", "file"])
def test_a_directory_that_others_could_have_made_is_refused(directory, trap):
    if trap == "open":
        directory.mkdir()
        directory.chmod(0o755)
    elif trap == "symlink":
        (directory.parent / "elsewhere").mkdir(mode=0o700)
        directory.symlink_to("elsewhere")
    else:
        directory.write_text("")
    for use in (runtime.prepare_directory, runtime.sockets, lambda: runtime.bind(b"/x")):
        with refused(ExitCode.DENIED):
            use()


@pytest.mark.root
def test_a_directory_of_another_user_is_refused(directory):
    directory.mkdir(mode=0o700)
    os.chown(directory, 65534, 65534)
    with refused(ExitCode.DENIED):
        runtime.prepare_directory()


def test_a_living_daemon_keeps_its_socket_and_a_dead_one_loses_it(directory):
    first = runtime.bind(b"/m")
    with refused(ExitCode.REFUSED):
        runtime.bind(b"/m")
    assert runtime.sockets() == [first.path]
    first.listener.close()  # as when a daemon is killed: the file stays
    assert first.path.exists()
    second = runtime.bind(b"/m")
    first.close()
    assert second.path.exists(), "an old daemon's end removed the new one's socket"
    second.listener.close()
    assert runtime.sockets() == []
    assert not second.path.exists()


def test_of_many_that_bind_at_once_one_wins(directory):
    runtime.bind(b"/m").listener.close()
    barrier, endpoints, refusals = threading.Barrier(8), [], []

    def start():
        barrier.wait()
        try:
            endpoints.append(runtime.bind(b"/m"))
        except UserError as error:
            refusals.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(endpoints), len(refusals)) == (1, 7)
    runtime.connect(endpoints[0].path).close()
    endpoints[0].close()


def test_a_path_too_long_for_an_address_still_works(tmp_path, monkeypatch):
    above = tmp_path / ("d" * 100) / ("e" * 100)
    above.mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(above))
    endpoint = runtime.bind(b"/m")
    try:
        assert len(str(endpoint.path)) > runtime.ADDRESS_LIMIT_BYTES
        assert runtime.is_alive(endpoint.path)
        runtime.connect(endpoint.path).close()
    finally:
        endpoint.close()
    assert not runtime.is_alive(endpoint.path)


def test_a_full_backlog_is_no_sign_of_death(directory):
    endpoint = runtime.bind(b"/m")
    endpoint.listener.listen(0)
    waiting = []
    try:
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            client.connect_ex(str(endpoint.path))
        assert runtime.is_alive(endpoint.path)
    finally:
        for client in waiting:
            client.close()
        endpoint.close()


# -- finding ----------------------------------------------------------------------------------


@pytest.fixture
def served(directory, tmp_path):
    """A served mountpoint `tree` in tmp_path, with a daemon that nobody mounted."""
    (tmp_path / "tree").mkdir()
    endpoint = runtime.bind(os.fsencode(tmp_path / "tree"))
    yield tmp_path / "tree"
    endpoint.close()


@pytest.mark.parametrize(
    ("below", "prefix"),
    [
        ("", b""),
        ("/", b""),
        ("/a/b", b"a/b"),
        ("//a/./b/", b"a/b"),
        ("/a/../b", b"b"),
        ("/../tree/x", b"x"),
    ],
)
def test_find_gives_the_path_inside(served, below, prefix):
    found = runtime.find(f"{served}{below}")
    assert found.mountpoint == os.fsencode(served)
    assert found.prefix == prefix
    assert found.socket == runtime.socket_path(os.fsencode(served))


def test_find_resolves_symlinks_outside_and_none_inside(served, tmp_path):
    (tmp_path / "way").symlink_to("tree")
    (tmp_path / "way2").symlink_to(tmp_path / "way")
    (served / "link").symlink_to("/etc")
    assert runtime.find(tmp_path / "way2" / "link" / "x").prefix == b"link/x"


def test_find_takes_relative_paths_and_odd_bytes(served, monkeypatch):
    monkeypatch.chdir(served)
    assert runtime.find(b"\xff/y").prefix == b"\xff/y"
    monkeypatch.chdir(served.parent)
    assert runtime.find("tree/y").prefix == b"y"


def test_find_prefers_the_innermost_mount(served):
    (served / "inner").mkdir()
    inner = runtime.bind(os.fsencode(served / "inner"))
    try:
        assert runtime.find(served / "inner" / "x").prefix == b"x"
        assert runtime.find(served / "outer" / "x").prefix == b"outer/x"
    finally:
        inner.close()


@pytest.mark.parametrize("path", ["..", "/", "{tree}/..", "{tree}beside"])
def test_what_nobody_serves_is_told(served, path):
    with refused(ExitCode.NOT_MOUNTED):
        runtime.find(path.format(tree=served))


def test_a_loop_of_symlinks_ends(directory, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match="too many levels"):
        runtime.find(tmp_path / "a" / "x")


def test_a_mount_without_a_daemon_is_told_apart(directory, tmp_path, monkeypatch):
    dead = runtime.Mount(os.fsencode(tmp_path / "dead"), os.geteuid())
    monkeypatch.setattr(runtime, "mounts", lambda: [dead])
    with pytest.raises(UserError, match="unmount") as caught:
        runtime.find(tmp_path / "dead" / "x")
    assert caught.value.exit_code == ExitCode.NOT_MOUNTED


def test_which_mounts_are_vfsd_s_and_whose(monkeypatch):
    text = (
        b"36 35 98:0 / /mnt/a\\040b\\134c rw - fuse.vfsd vfsd rw,user_id=7,group_id=0\n"
        b"37 35 98:0 / /mnt/two rw shared:1 - fuse vfsd rw,user_id=0\n"
        b"38 35 98:0 / /mnt/ssh rw - fuse.sshfs host rw\n"
        b"39 35 98:0 / /mnt/tmp rw - tmpfs vfsd rw\n"
    )
    monkeypatch.setattr(mountinfo, "read", lambda: mountinfo.parse(text))
    assert runtime.mounts() == [
        runtime.Mount(b"/mnt/a b\\c", 7),
        runtime.Mount(b"/mnt/two", 0),
    ]
