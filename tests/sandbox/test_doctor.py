"""`vfsd doctor` on this machine, and in sandboxes that lack what it looks for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.service.manager import packages, python
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.probe import PROBES

REPOSITORY = Path(__file__).parents[2]
DOCTOR = [sys.executable, "-m", "vfsd", "doctor"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=120
    )


def gaps(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in json.loads(done.stdout) if not each["works"]}


def without(*options: str, **environment: str) -> dict[str, dict[str, object]]:
    """Return the gaps that it finds on this machine with bwrap's `options` applied."""
    box = ["bwrap", "--bind", "/", "/", "--dev-bind", "/dev", "/dev", *options]
    done = doctor(*box, "--", *DOCTOR, "--json", **environment)
    assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
    return gaps(done)


@pytest.mark.fuse
@pytest.mark.bwrap
def test_a_machine_that_runs_these_tests_lacks_nothing_needed():
    done = doctor(*DOCTOR, "--json")
    assert done.returncode == ExitCode.OK, done.stdout
    assert [each["name"] for each in json.loads(done.stdout)] == [name for name, *_ in PROBES]
    assert not [name for name, each in gaps(done).items() if each["needed"]]


def test_the_text_says_the_same_as_the_json():
    text, data = doctor(*DOCTOR), doctor(*DOCTOR, "--json")
    assert text.returncode == data.returncode
    for each in json.loads(data.stdout):
        (line,) = [line for line in text.stdout.splitlines() if line[8:26].strip() == each["name"]]
        assert line.startswith("ok") is each["works"]
        assert each["remedy"] in text.stdout
        assert bool(each["remedy"]) is not each["works"]


@pytest.mark.bwrap
def test_no_device():
    found = without("--dev", "/dev")
    assert found["/dev/fuse"]["remedy"].endswith("modprobe fuse")


@pytest.mark.bwrap
def test_a_device_without_its_driver(tmp_path):
    """A file that is there but cannot be opened as a device."""
    os.mkdir(tmp_path / "fuse")
    found = without("--dev", "/dev", "--ro-bind", str(tmp_path / "fuse"), "/dev/fuse")
    assert found["/dev/fuse"]["remedy"].endswith("modprobe fuse")


@pytest.mark.bwrap
def test_no_tools(tmp_path):
    for tool in ("unshare", "apt-get", "sh", "mount", "true"):
        if path := shutil.which(tool):
            (tmp_path / tool).symlink_to(path)
    bwrap = Path(shutil.which("bwrap")).parent
    found = gaps(doctor(*DOCTOR, "--json", PATH=str(tmp_path)))
    assert found["bwrap"]["remedy"].endswith("install bubblewrap"), bwrap
    assert found["fusermount3"]["remedy"].endswith("install fuse3")
    assert found["sandbox"]["needed"]


@pytest.mark.bwrap
def test_an_old_bwrap_and_one_that_is_none(tmp_path):
    fake = tmp_path / "bwrap"
    for script, told in (
        ("echo bubblewrap 0.4.1", "0.4.1"),
        ("echo no such option >&2; exit 2", "no such option"),
    ):
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        done = doctor(*DOCTOR, "--json", PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.returncode == ExitCode.UNAVAILABLE
        assert told in gaps(done)["bwrap"]["detail"]


@pytest.mark.bwrap
def test_no_user_namespaces():
    found = without("--unshare-user", "--disable-userns", "--cap-drop", "ALL")
    assert "sysctl -w " in found["user namespace"]["remedy"]
    assert "sysctl -w " in found["sandbox"]["remedy"]
    assert not found["overlayfs"]["needed"]


@pytest.mark.bwrap
@pytest.mark.root
def test_no_mtab_and_a_home_that_takes_no_layers():
    """As an ordinary user in a bare new root, whose home lies on an overlayfs."""
    user = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"]
    script = """
        mount -t tmpfs -o mode=755 tmpfs "$1" && cd "$1" && mkdir home lower u1 u2 w1 w2
        mount -t overlay -o lowerdir=/etc,upperdir=u1,workdir=w1 none /etc && rm /etc/mtab
        mount -t overlay -o lowerdir=lower,upperdir=u2,workdir=w2 none home && chown 4242 home
        shift && HOME="$PWD/home" exec "$@"
    """
    with tempfile.TemporaryDirectory() as place:
        apart = ["unshare", "--mount", "sh", "-ec", script, "sh", place]
        words = [*apart, *user, python(user), "-m", "vfsd", "doctor", "--json"]
        found = gaps(doctor(*words, XDG_STATE_HOME="", PYTHONPATH=packages()))
    assert found["fusermount3"]["remedy"] == "sudo ln -s /proc/self/mounts /etc/mtab"
    assert "no layer can be kept in " in found["snapshots"]["detail"]
    assert "export XDG_STATE_HOME=" in found["snapshots"]["remedy"]
    assert not found["snapshots"]["needed"]


@pytest.mark.bwrap
def test_no_libseccomp():
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    (path, *_) = [line.split()[-1] for line in listed.splitlines() if "libseccomp.so.2" in line]
    found = without("--ro-bind", "/dev/null", os.path.realpath(path))
    assert found["system calls"]["remedy"].endswith("install libseccomp2")
    assert found["system calls"]["needed"]


@pytest.mark.bwrap
def test_no_control_groups_are_no_reason_to_fail():
    box = ["bwrap", "--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--tmpfs", "/sys/fs/cgroup"]
    found = gaps(doctor(*box, "--", *DOCTOR, "--json", XDG_RUNTIME_DIR=""))
    assert found["control groups"]["remedy"]
    assert not found["control groups"]["needed"]


def test_a_package_that_is_missing_is_named(tmp_path):
    """A vfsd whose metadata asks for a package that no machine has, and one that is broken."""
    info = tmp_path / "vfsd-1.0.dist-info"
    info.mkdir()
    for text, told in (
        ("Requires-Dist: vfsd-no-such-package>=1\n", "vfsd-no-such-package is not installed"),
        ("Requires-Dist: broken\n", "broken cannot be imported: ImportError: libbroken.so"),
    ):
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vfsd\nVersion: 1.0\n{text}")
        other = tmp_path / "broken-1.0.dist-info"
        other.mkdir(exist_ok=True)
        (other / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
        (tmp_path / "broken.py").write_text("raise ImportError('libbroken.so')\n")
        done = doctor(*DOCTOR, "--json", PYTHONPATH=f"{tmp_path}:{REPOSITORY}")
        assert done.returncode == ExitCode.UNAVAILABLE
        found = gaps(done)["python packages"]
        assert found["detail"] == told
        assert f"{sys.executable} -m pip install " in found["remedy"]


def test_a_wrong_option_is_refused():
    assert doctor(*DOCTOR, "--bogus").returncode == ExitCode.USAGE


@pytest.mark.bwrap
def test_nothing_is_left_behind(tmp_path):
    doctor(*DOCTOR, TMPDIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
