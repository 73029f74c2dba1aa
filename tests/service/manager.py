"""A real `systemd --user`, for an ordinary user, on a machine that was not booted with systemd.

It gets what a login would have given it: a runtime directory, a bus of its own (by socket
activation, dbus-user-session), and a control group that belongs to the user in each hierarchy that
there is. It lives in a mount namespace of its own, where /run/systemd/system says that systemd
runs, a real journald keeps the logs, and the user is one whom the machine does not know otherwise
(journald gives a journal of their own to ordinary users only). So do the mounts of its services,
and all that a test runs.

Sources: systemd(1), user@.service(5), sd_booted(3), systemd-journald.service(8), namespaces(7).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SYSTEMD = "/usr/lib/systemd/systemd"
JOURNALD = "/usr/lib/systemd/systemd-journald"
USER = 4242
SLICE = f"user.slice/user-{USER}.slice/user@{USER}.service"
"""The control group: journald tells by its name whose service a line is from."""
WAIT_SECONDS = 60


def groups() -> list[Path]:
    """Return the hierarchies of control groups that systemd keeps its services in."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(place))
    return found


def python(user: list[str]) -> str:
    """Return a Python that the user can run as well, not one in somebody else's home."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        command = [*user, "sh", "-c", f"{candidate} -c 'import trio, pyfuse3'"]
        done = subprocess.run(
            command, env={"PYTHONPATH": packages()}, capture_output=True, check=False
        )
        if done.returncode == 0:
            return candidate
    raise AssertionError("no Python with vfsd's packages can be run by another user")


def packages() -> str:
    """Return where this Python finds vfsd and what it needs, for any Python of its version."""
    return f"{ROOT}:{sysconfig.get_path('purelib')}:{sysconfig.get_path('platlib')}"


class Manager:
    """See the module. `sh` runs a script as the user, beside the manager."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="vfsd-service-"))
        self.root.chmod(0o755)
        self.home = self.root / "home"
        self.config = self.home / ".config" / "vfsd"
        self.config.mkdir(parents=True)
        (self.root / "run").mkdir(mode=0o700)
        for path in (self.root / "run", self.home, *self.home.rglob("*")):
            os.chown(path, USER, USER)
        self.groups = [group / SLICE for group in groups()]
        try:
            for group in self.groups:
                group.mkdir(parents=True)
        except OSError as error:
            shutil.rmtree(self.root)
            pytest.skip(f"no control group can be made for a service manager: {error}")
        for group in self.groups:
            for path in (group, *group.iterdir()):
                os.chown(path, USER, USER)
        self.log = self.root / "log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "PYTHONPATH": packages(),
            "LANG": "C.UTF-8",
        }
        self.user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        self.python = python(self.user)
        joining = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in self.groups)
        users = Path("/etc/passwd").read_text() + f"tester:x:{USER}:{USER}::{self.home}:/bin/sh\n"
        (self.root / "passwd").write_text(users)
        script = f"""
            set -e
            mount --bind {self.root}/passwd /etc/passwd
            for each in /run/systemd /run/log /var/log; do
                mount -t tmpfs -o mode=755 tmpfs $each
            done
            mkdir /run/systemd/system /run/systemd/journal /run/systemd/journald.conf.d
            mkdir /var/log/journal
            touch /run/systemd/journal/flushed
            printf '[Journal]\\nStorage=persistent\\nReadKMsg=no\\nAudit=no\\n' \\
                > /run/systemd/journald.conf.d/test.conf
            {JOURNALD} &
            echo $! > {self.root}/journald
            while ! test -S /run/systemd/journal/stdout; do sleep 0.05; done
            {joining}
            exec {" ".join(self.user)} {SYSTEMD} --user --log-target=console
        """
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation=private", "sh", "-c", script],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.wait(
                "the manager", lambda: "running" in self.sh("systemctl --user is-system-running")
            )
        except BaseException:
            self.close()
            raise

    def sh(self, script: str, check: bool = False) -> str:
        done = subprocess.run(
            [
                *("nsenter", f"--target={self.process.pid}", "--mount"),
                # Not nsenter's --wd: that would be the directory outside, without the mounts.
                *(*self.user, "sh", "-c", f"cd {self.home}; {script}"),
            ],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        if check:
            assert done.returncode == 0, (script, done.stdout, done.stderr, self.told())
        return done.stdout + done.stderr

    def vfsd(self, *arguments: str, check: bool = True) -> str:
        return self.sh(" ".join((self.python, "-m", "vfsd", *arguments)), check=check)

    def show(self, instance: str, what: str) -> str:
        return self.sh(f"systemctl --user show --value -p {what} {instance}").strip()

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, f"{what} does not come: {self.told()}"
            time.sleep(0.1)

    def told(self) -> str:
        return self.log.read_text(errors="replace")[-8000:]

    def close(self) -> None:
        """End the manager with all its services, and take away what was made for it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGRTMIN + 24)  # exit at once
            try:
                self.process.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.root / "journald").read_text()), signal.SIGTERM)
        for group in self.groups:
            self._remove(group)
            for each in (group.parent, group.parent.parent):
                with suppress(OSError):  # another user's
                    each.rmdir()
        shutil.rmtree(self.root)

    def _remove(self, group: Path) -> None:
        for path in sorted(group.rglob("*"), reverse=True):
            if path.is_dir():
                self._remove_one(path)
        self._remove_one(group)

    def _remove_one(self, group: Path) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            for pid in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            try:
                group.rmdir()
            except OSError:
                assert time.monotonic() < deadline, f"{group} cannot be removed"
                time.sleep(0.02)
            else:
                return
