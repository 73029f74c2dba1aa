"""The life of a mount: live when `mount` returns, gone when it ends, clear when it cannot be."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from vfsd.exitcodes import ExitCode

pytestmark = pytest.mark.fuse


def daemon_pid(place) -> int:
    return place.status()["pid"]


def wait_gone(pid: int) -> None:
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} is still there")


def test_the_mount_is_live_when_mount_returns(mounted):
    file = mounted.mount / "a"
    file.write_bytes(b"content")
    assert file.read_bytes() == b"content"
    assert os.listdir(mounted.mount) == ["a"]
    with open("/proc/self/mountinfo") as table:
        line = next(line for line in table if f" {mounted.mount} " in line)
    assert " fuse.vfsd vfsd " in line


def test_the_daemon_keeps_nothing_of_its_terminal(mounted):
    pid = daemon_pid(mounted)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    assert fields[4] == "0"  # no controlling terminal


def test_unmount_ends_the_daemon_and_leaves_no_socket(place):
    place.vfsd("mount", place.mount)
    pid = daemon_pid(place)
    place.vfsd("unmount", place.mount)
    wait_gone(pid)
    assert not list((place.root / "run").rglob("*.sock"))
    assert "unmounted" in place.log()
    assert "ERROR" not in place.log()


def test_a_second_mount_at_the_same_place_is_refused(mounted):
    said = mounted.refused(ExitCode.REFUSED, "mount", mounted.mount)
    assert "already" in said
    assert "unmount" in said
    assert os.listdir(mounted.mount) == []


def test_several_mounts_are_several_processes(place):
    other = place.root / "other"
    other.mkdir()
    place.vfsd("mount", place.mount)
    place.vfsd("mount", other, "-o", "size=1M")
    try:
        (place.mount / "here").touch()
        assert os.listdir(other) == []
        listed = json.loads(place.vfsd("status", "--json").stdout)
        ours = {each["mountpoint"]: each for each in listed}
        assert ours[str(place.mount)]["pid"] != ours[str(other)]["pid"]
    finally:
        place.vfsd("unmount", place.mount)
        place.vfsd("unmount", other)


def test_a_directory_that_is_not_empty_is_refused_unless_asked_for(place):
    (place.mount / "kept").touch()
    said = place.refused(ExitCode.REFUSED, "mount", place.mount)
    assert "not empty" in said
    place.vfsd("mount", place.mount, "--allow-nonempty")
    assert os.listdir(place.mount) == []
    place.vfsd("unmount", place.mount)
    assert os.listdir(place.mount) == ["kept"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it_cleanly(place, number):
    place.vfsd("mount", place.mount)
    pid = daemon_pid(place)
    os.kill(pid, number)
    wait_gone(pid)
    assert not os.path.ismount(place.mount)
    assert "ERROR" not in place.log()


def test_a_killed_daemon_s_mount_fails_loudly_and_the_next_mount_clears_it(place):
    place.vfsd("mount", place.mount)
    pid = daemon_pid(place)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    with pytest.raises(OSError, match="not connected"):
        os.listdir(place.mount)
    done = place.vfsd("mount", place.mount)
    assert "dead daemon" in done.stderr
    (place.mount / "alive").touch()
    place.vfsd("unmount", place.mount)


def test_a_dead_mount_can_be_unmounted(place):
    place.vfsd("mount", place.mount)
    pid = daemon_pid(place)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    place.vfsd("unmount", place.mount)
    assert not os.path.ismount(place.mount)


def test_unmounting_what_is_in_use_is_refused_unless_lazy(place):
    place.vfsd("mount", place.mount)
    pid = daemon_pid(place)
    with open(place.mount / "held", "w") as held:
        said = place.refused(ExitCode.REFUSED, "unmount", place.mount)
        assert "in use" in said
        held.write("still works")
        held.flush()
        place.vfsd("unmount", "--lazy", place.mount)
        wait_gone(pid)  # although the file is still open
        with pytest.raises(OSError, match="not connected"):
            os.fstat(held.fileno())


@pytest.mark.root
def test_a_copy_of_the_mount_in_another_namespace_does_not_keep_the_daemon(place):
    place.vfsd("mount", place.mount)
    pid = place.status()["pid"]
    copy = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo && exec sleep 60"]
    elsewhere = subprocess.Popen(copy, stdout=subprocess.PIPE)
    try:
        elsewhere.stdout.read(1)
        place.vfsd("unmount", place.mount)
        wait_gone(pid)
    finally:
        elsewhere.kill()
        elsewhere.communicate()


@pytest.mark.bwrap
def test_unmounting_what_a_run_works_on_is_refused_unless_lazy(place):
    place.vfsd("mount", place.mount)
    words = ["run", "--quiet", "--base", place.mount, "--write", "--"]
    run = subprocess.Popen(
        [sys.executable, "-m", "vfsd", *words, "sh", "-c", "echo && exec sleep 60"],
        env=place.environment,
        stdout=subprocess.PIPE,
    )
    try:
        run.stdout.read(1)
        said = place.refused(4, "unmount", place.mount)
        assert "vfsd kill" in said
        assert "--lazy" in said
        place.vfsd("unmount", "--lazy", place.mount)
    finally:
        run.terminate()
        run.communicate()


def test_unmounting_what_is_not_mounted_says_so(place):
    said = place.refused(ExitCode.NOT_MOUNTED, "unmount", place.mount)
    assert "nothing is mounted" in said


def test_foreground_serves_until_a_signal_and_logs_to_stderr(place):
    daemon = subprocess.Popen(
        [sys.executable, "-m", "vfsd", "mount", "--foreground", str(place.mount)],
        env=place.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert daemon.stderr is not None
    assert daemon.stderr.readline() == f"vfsd: mounted at {place.mount}\n"
    (place.mount / "x").touch()
    daemon.send_signal(signal.SIGTERM)
    rest = daemon.stderr.read()
    daemon.stderr.close()
    assert daemon.wait(timeout=30) == 0
    assert "SIGTERM" in rest
    assert not os.path.ismount(place.mount)


def test_a_read_only_mount_refuses_every_change(place):
    place.vfsd("mount", place.mount, "--read-only")
    try:
        with pytest.raises(OSError, match="Read-only"):
            (place.mount / "x").touch()
    finally:
        place.vfsd("unmount", place.mount)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("missing",), ExitCode.NOT_FOUND, "mkdir"),
        (("file",), ExitCode.USAGE, "not a directory"),
        (("",), ExitCode.USAGE, "empty"),
        (("mount", "nosuchprovider"), ExitCode.NOT_FOUND, "memory"),
        (("mount", "./nosuchpath"), ExitCode.NOT_FOUND, "does not exist"),
        (("mount", "memory", "-o", "size=many"), ExitCode.USAGE, "size"),
        (("mount", "memory", "-o", "colour=red"), ExitCode.USAGE, "colour"),
        (("mount", "memory", "-o", "size"), ExitCode.USAGE, "KEY=VALUE"),
        (("n" * 300,), ExitCode.FAILED, "too long"),
    ],
)
def test_bad_arguments_give_one_sentence_and_mount_nothing(place, arguments, code, word):
    (place.root / "file").touch()
    assert word in place.refused(code, "mount", *arguments)
    assert not os.path.ismount(place.mount)
    assert not list((place.root / "run").rglob("*.sock"))


def test_wrong_usage_gives_code_2(place):
    assert place.vfsd("mount", check=False).returncode == ExitCode.USAGE
    assert place.vfsd("mount", "x", "--poll-us", "-1", check=False).returncode == ExitCode.USAGE
    assert place.vfsd("mout", check=False).returncode == ExitCode.USAGE
    assert "did you mean 'vfsd mount'?" in place.vfsd("mout", check=False).stderr


def test_the_stock_loop_serves_as_well(place):
    place.vfsd("mount", place.mount, "--loop", "stock", "--poll-us", "0")
    (place.mount / "a").write_bytes(b"x" * 100_000)
    assert (place.mount / "a").read_bytes() == b"x" * 100_000
    status = place.status()
    assert status["serving_loop"] == "stock"
    place.vfsd("unmount", place.mount)


def test_without_xattrs_the_kernel_stops_asking_for_them(place):
    place.vfsd("mount", place.mount, "--no-xattrs")
    try:
        with pytest.raises(OSError, match="not supported"):
            os.getxattr(place.mount, "user.a")
        for name in "abc":
            (place.mount / name).write_bytes(b"x")
        status = place.status()
        assert "getxattr" not in status["requests"]
    finally:
        place.vfsd("unmount", place.mount)
