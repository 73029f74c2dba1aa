"""vfsd@.service under a real systemd of an ordinary user."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import time
from contextlib import contextmanager

import pytest

from tests.install.commands import blocks
from tests.service.manager import ROOT, SYSTEMD, Manager

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.systemd]

INSTANCE = "vfsd@work.service"
UNIT = ROOT / "systemd" / "vfsd@.service"


@pytest.fixture(scope="module")
def manager():
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)  # as distributions have it
    try:
        manager = Manager()
        try:
            yield manager
        finally:
            manager.close()
    finally:
        os.chmod("/dev/fuse", mode)


@pytest.fixture
def work(manager):
    """An installed service `work`, with a directory attached."""
    manager.sh("mkdir -p src; echo hello > src/a")
    write(manager, "")
    manager.vfsd("service", "install", "work")
    yield manager
    manager.vfsd("service", "uninstall", "work")
    assert mounts(manager) == ""


def mounts(manager) -> str:
    return manager.sh(f"grep {manager.home}/ /proc/self/mountinfo")


def write(manager, more: str) -> None:
    (manager.config / "work.toml").write_text(
        f'[mount]\ndirectory = "~/tree"\n[[attach]]\nprefix = "src"\nsource = "~/src"\n{more}'
    )


def test_it_is_ready_when_the_mount_answers_and_gone_after_stop(work):
    assert work.show(INSTANCE, "ActiveState") == "active"
    assert work.sh("cat tree/src/a") == "hello\n"
    assert "active (running)" in work.vfsd("service", "status", "work")
    told = json.loads(work.vfsd("service", "status", "work", "--json"))
    assert told["ActiveState"] == "active"
    assert told["StatusText"] == "the mount answers"
    assert told["MainPID"] == work.show(INSTANCE, "MainPID")
    work.vfsd("service", "stop", "work")
    assert work.show(INSTANCE, "Result") == "success"
    assert mounts(work) == ""
    work.vfsd("service", "start", "work")
    assert work.sh("cat tree/src/a") == "hello\n"


def test_after_a_kill_it_is_mounted_again_with_what_is_configured(work):
    before = work.show(INSTANCE, "MainPID")
    os.kill(int(before), signal.SIGKILL)
    work.wait(
        "a new daemon",
        lambda: (
            work.show(INSTANCE, "ActiveState") == "active"
            and work.show(INSTANCE, "MainPID") not in ("0", before)
        ),
    )
    assert work.sh("cat tree/src/a") == "hello\n"
    assert work.show(INSTANCE, "NRestarts") == "1"


def test_a_daemon_that_hangs_is_killed_and_started_again(work):
    work.sh(
        "mkdir -p .config/systemd/user/vfsd@work.service.d;"
        "printf '[Service]\\nWatchdogSec=2s\\nTimeoutAbortSec=1s\\n'"
        " > .config/systemd/user/vfsd@work.service.d/quick.conf; systemctl --user daemon-reload",
        check=True,
    )
    work.vfsd("service", "restart", "work")
    before = work.show(INSTANCE, "MainPID")
    try:
        os.kill(int(before), signal.SIGSTOP)
        work.wait(
            "a new daemon",
            lambda: (
                work.show(INSTANCE, "ActiveState") == "active"
                and work.show(INSTANCE, "MainPID") not in ("0", before)
            ),
        )
        assert work.show(INSTANCE, "NRestarts") == "1"
        assert work.sh("cat tree/src/a") == "hello\n"
    finally:
        work.sh("rm -r .config/systemd/user/vfsd@work.service.d; systemctl --user daemon-reload")


def test_what_it_logs_is_in_the_journal_with_its_priority(work):
    write(work, '[[attach]]\nprefix = "odd"\nsource = "~/none"\n')
    work.vfsd("service", "reload", "work")
    work.wait("the log", lambda: "nothing has changed" in work.vfsd("service", "logs", "work"))
    shown = work.vfsd("service", "logs", "work")
    assert "vfsd-work[" in shown
    assert f"mounted at {work.home}/tree" in shown
    assert "attached passthrough" in shown
    assert "<6>" not in shown
    assert work.vfsd("service", "logs", "work", "-n", "1").count("\n") == 1
    told = work.vfsd("service", "logs", "work", "--json")
    priorities = {
        entry["MESSAGE"]: entry["PRIORITY"] for entry in map(json.loads, told.splitlines())
    }
    (attached,) = {each for message, each in priorities.items() if "attached passth" in message}
    (refused,) = {each for message, each in priorities.items() if "nothing has" in message}
    assert (attached, refused) == ("6", "3")
    write(work, "")


@contextmanager
def holding_the_store(manager):
    """Keep everybody from using the user's snapshots, as a long piece of work on them does."""
    lock = manager.home / ".local/state/vfsd/store/lock"
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def test_a_kept_tree_may_take_longer_than_a_stop_and_a_start(work):
    """systemd waits 5 s, and would kill the daemon then: before its tree is stored, or loaded."""
    place = ".config/systemd/user/vfsd@work.service.d"
    limits = "TimeoutStopSec=5s\\nTimeoutStartSec=5s\\n"
    work.sh(
        f"mkdir -p {place}; printf '[Service]\\n{limits}' > {place}/short.conf;"
        " systemctl --user daemon-reload",
        check=True,
    )
    write(work, '[provider]\npersist = "work"\n')
    work.vfsd("service", "restart", "work")
    try:
        # So that there is a store, and something to add to it.
        work.sh("echo kept > tree/a", check=True)
        work.vfsd("service", "restart", "work")
        for end in ("b", "c"):
            assert work.sh("cat tree/a") == "kept\n"
            work.sh(f"echo {end} > tree/{end}", check=True)
            pid = work.show(INSTANCE, "MainPID")
            with holding_the_store(work):
                work.sh(f"systemctl --user stop --no-block {INSTANCE}", check=True)
                work.wait(
                    "its word", lambda: "storing the trees" in work.show(INSTANCE, "StatusText")
                )
                time.sleep(12)
                assert work.show(INSTANCE, "ActiveState") == "deactivating"
                assert work.show(INSTANCE, "MainPID") == pid
            work.wait("the end", lambda: work.show(INSTANCE, "ActiveState") == "inactive")
            assert work.show(INSTANCE, "Result") == "success"
            with holding_the_store(work):
                work.sh(f"systemctl --user start --no-block {INSTANCE}", check=True)
                work.wait("its word", lambda: "the root" in work.show(INSTANCE, "StatusText"))
                time.sleep(12)
                assert work.show(INSTANCE, "ActiveState") == "activating"
            work.wait("the mount", lambda: work.show(INSTANCE, "ActiveState") == "active")
            assert work.sh(f"cat tree/{end}") == f"{end}\n"
        assert work.show(INSTANCE, "NRestarts") == "0"
    finally:
        work.sh(f"rm -r {place}; systemctl --user daemon-reload")
        write(work, "")


def test_reload_follows_the_file(work):
    write(work, '[[attach]]\nprefix = "more"\nsource = "memory"\n')
    pid = work.show(INSTANCE, "MainPID")
    work.vfsd("service", "reload", "work")
    work.wait("the attachment", lambda: "more" in work.sh("ls tree"))
    assert work.show(INSTANCE, "MainPID") == pid
    assert work.show(INSTANCE, "ActiveState") == "active"


def test_what_the_document_shows_works(manager):
    (block,) = [each for each in blocks() if each.first == "vfsd service install work"]
    manager.sh("mkdir -p src")
    write(manager, "")
    for line in block.text.splitlines():
        program, *words = line.partition("#")[0].split()
        assert program == "vfsd"
        manager.vfsd(*words)
    assert manager.show(INSTANCE, "LoadState") == "not-found"
    assert mounts(manager) == ""


def test_a_bad_file_is_not_tried_again_and_again(work):
    work.vfsd("service", "stop", "work")
    (work.config / "work.toml").write_text("[mount]\ndirectroy = 1\n")
    said = work.vfsd("service", "start", "work", check=False)
    assert "vfsd service logs work" in said
    assert work.show(INSTANCE, "ActiveState") == "failed"
    assert work.show(INSTANCE, "NRestarts") == "0"
    write(work, "")


def test_install_refuses_what_cannot_start(manager):
    (manager.config / "odd.toml").write_text("[mount]\n")
    assert "names no mountpoint" in manager.vfsd("service", "install", "odd", check=False)
    assert "no configuration file" in manager.vfsd("service", "install", "none", check=False)
    assert "cannot be the name" in manager.vfsd("service", "install", "'a b'", check=False)
    assert not (manager.home / ".config/systemd/user/vfsd@.service").exists()


def test_the_unit_is_in_order(work):
    assert work.sh("systemd-analyze --user verify --man=no vfsd@work.service") == ""


def test_the_unit_is_as_closed_as_fuse_allows(work):
    """Exposure must not grow; what cannot be closed, and why, stands in the unit."""
    said = work.sh("systemd-analyze security --user --threshold=96 vfsd@work.service", check=True)
    assert "Overall exposure level" in said


def test_systemd_is_the_machine_s_own():
    assert os.access(SYSTEMD, os.X_OK)
    done = subprocess.run([SYSTEMD, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("systemd ")
