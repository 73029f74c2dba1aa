"""The probes of `vfsd doctor` on forged files and settings, and its text on a terminal.

tests/sandbox/test_doctor.py runs it on whole machines that lack something.
"""

import json
import os
import pty
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from vfsd.exitcodes import ExitCode
from vfsd.sandbox.gaps import find
from vfsd.sandbox.probe import PROBES, allow_other, device, findings, forbidding_setting

REPOSITORY = Path(__file__).parents[2]
DOCTOR = [sys.executable, "-m", "vfsd", "doctor"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

AS_NOBODY = """
import json, os, sys
from functools import partial
from vfsd.sandbox.gaps import find
from vfsd.sandbox.probe import device
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(json.dumps(find("device", True, partial(device, sys.argv[1]))))
"""


def doctor(*words, **environment):
    return subprocess.run(
        [*DOCTOR, *words],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


# -- each probe -----------------------------------------------------------------------------


def test_every_probe_ends_with_an_answer_and_a_remedy_for_each_gap():
    found = list(findings())
    assert [each.name for each in found] == [name for name, _, _ in PROBES]
    for each in found:
        assert each.detail
        assert "\n" not in each.detail + each.remedy
        assert bool(each.remedy) is not each.works
        expected = "ok" if each.works else "missing" if each.needed else "warn"
        assert each.status == expected


def test_a_device_that_does_not_exist(tmp_path):
    found = find("device", True, partial(device, str(tmp_path / "fuse")))
    assert (found.status, found.detail) == ("missing", "there is none")
    assert found.remedy.endswith("modprobe fuse")


@pytest.mark.root
def test_a_device_that_is_closed_to_an_ordinary_user():
    place = Path(f"/run/vfsd-test-device-{os.getpid()}")
    place.write_bytes(b"")
    try:
        answers = []
        for mode in (0o600, 0o666):
            place.chmod(mode)
            words = [sys.executable, "-c", AS_NOBODY, str(place)]
            done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            answers.append(json.loads(done.stdout))
    finally:
        place.unlink()
    (_, closed, _, remedy, _), (_, opened, _, nothing, _) = answers
    assert (closed, remedy) == (False, f"sudo chmod 0666 {place}")
    assert (opened, nothing) == (True, "")


def test_a_device_whose_driver_is_missing(tmp_path):
    (tmp_path / "fuse").mkdir()
    found = find("device", True, partial(device, str(tmp_path / "fuse")))
    assert not found.works
    assert found.detail.startswith("cannot be opened: ")


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("user_allow_other\n", True),
        ("# comment\n  user_allow_other  \nmount_max = 9", True),
        ("#user_allow_other\n", False),
        ("user_allow_other_not\n", False),
        ("", False),
        (None, False),
    ],
)
def test_fuse_conf(tmp_path, text, works):
    conf = tmp_path / "fuse.conf"
    if text is not None:
        conf.write_text(text)
    found = find("conf", False, partial(allow_other, str(conf)))
    assert found.status == ("ok" if works else "warn")


def test_the_remedy_for_fuse_conf_mends_it(tmp_path):
    conf = tmp_path / "fuse.conf"
    gap = find("conf", False, partial(allow_other, str(conf)))
    subprocess.run(["sh", "-c", gap.remedy.removeprefix("sudo ")], check=True)
    assert find("conf", False, partial(allow_other, str(conf))).works


@pytest.mark.parametrize(
    ("settings", "complaint", "assignment"),
    [
        (
            {"kernel/unprivileged_userns_clone": "0"},
            "unshare: unshare failed: Operation not permitted",
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            {
                "kernel/unprivileged_userns_clone": "1",
                "kernel/apparmor_restrict_unprivileged_userns": "1",
            },
            "bwrap: setting up uid map: Permission denied",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            {"kernel/unprivileged_userns_clone": "0", "user/max_user_namespaces": "0"},
            "unshare: unshare failed: No space left on device",
            "user.max_user_namespaces=15000",
        ),
    ],
)
def test_the_setting_that_forbids_user_namespaces(tmp_path, settings, complaint, assignment):
    for name, value in settings.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    assert forbidding_setting(complaint, str(tmp_path)) == assignment


# -- the whole ------------------------------------------------------------------------------


@pytest.mark.fuse
@pytest.mark.bwrap
def test_json_says_what_it_is_and_gaps_that_are_not_needed_do_not_count():
    done = doctor("--json")
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert found["/dev/fuse"]["status"] == "ok"
    assert found["sandbox"]["status"] == "ok"
    assert {each["status"] for each in found.values()} <= {"ok", "warn"}
    assert done.returncode == ExitCode.OK


def test_without_bwrap_the_exit_code_says_so(tmp_path):
    done = doctor("--json", PATH=str(tmp_path))
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert done.returncode == ExitCode.UNAVAILABLE
    assert found["bwrap"]["status"] == "missing"
    assert "bubblewrap" in found["bwrap"]["remedy"]


def test_another_trio_only_makes_mounts_slower(tmp_path):
    """A trio that says it is of another release, as one that was upgraded would."""
    (tmp_path / "sitecustomize.py").write_text("import trio\ntrio.__version__ = '0.99.0'\n")
    done = doctor("--json", PYTHONPATH=f"{tmp_path}:{REPOSITORY}")
    found = {each["name"]: each for each in json.loads(done.stdout)}["serving loop"]
    assert found["status"] == "warn"
    assert "trio is 0.99.0, not 0.35." in found["detail"]
    assert f"{sys.executable} -m pip install " in found["remedy"]


def on_terminal(**environment):
    """Run it with a terminal as its output; return what that shows, and the exit code."""
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0) as shown:
        try:
            process = subprocess.Popen(
                DOCTOR, env={**ENVIRONMENT, **environment}, stdout=slave, stderr=slave
            )
        finally:
            os.close(slave)
        pieces = []
        try:
            while piece := shown.read(4096):
                pieces.append(piece)
        except OSError:
            pass  # EIO: all other ends of the terminal are closed
        return b"".join(pieces).decode(), process.wait(60)


def test_signs_are_for_terminals_that_can_show_them():
    shown, code = on_terminal(PYTHONIOENCODING="utf-8")
    piped = doctor(PYTHONIOENCODING="utf-8")
    assert code == piped.returncode
    assert "✓ kernel" in shown
    assert "✓" not in piped.stdout
    plain, _ = on_terminal(PYTHONIOENCODING="ascii")
    assert plain.splitlines() == piped.stdout.splitlines()


def test_the_text_is_aligned(tmp_path):
    for text in (doctor(PATH=str(tmp_path)).stdout, on_terminal(PYTHONIOENCODING="utf-8")[0]):
        lines = text.splitlines()
        column = lines[0].index("kernel")
        for line in lines:
            assert line[column - 1] == " "
            assert line[column] != " "
            assert line[column + 17] == " "
            assert line[column + 18] != " "
