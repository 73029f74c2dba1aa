"""Rights that the command has not: capabilities, privileges, settings, devices.

Probes of what must be refused open things and never change them, so that a sandbox that leaks
does no harm to the machine that finds out.
"""

from __future__ import annotations

import os

import pytest

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.bwrap,
    pytest.mark.parametrize("box", ["write", "kernel"], indirect=True),
]


def test_no_capability_and_no_new_privilege(box):
    status = dict(
        line.split(":\t", 1)
        for line in box.sh("cat /proc/self/status").splitlines()
        if ":\t" in line
    )
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"


def test_setuid_programs_gain_nothing(box):
    """Those of /usr; mount(8) is one everywhere."""
    program = box.sh("command -v mount su | head -n 1").strip()
    if not os.stat(program).st_mode & 0o4000:
        pytest.skip(f"{program} is not setuid here")
    assert (
        box.sh("mount --version >/dev/null; grep CapEff /proc/self/status").split()[1] == "0" * 16
    )
    assert box.run("--", "mount", "-t", "tmpfs", "none", "/tmp").returncode not in (0, 127)


@pytest.mark.parametrize(
    "attempt",
    [
        "unshare --user true",
        "unshare --user --map-root-user true",
        "unshare --mount true",
        "mount -o remount,rw /",
        "mount -o remount,rw /usr",
        "mount -o remount,rw /proc",
        "umount -l /proc",
        "mount -t proc none /tmp",
        "chroot / true",
        "mknod device c 1 3",
        "nsenter --target 1 --mount --user true",
        "hostname other",
        "touch /usr/x",
        "touch /x",
        "touch /etc/x",
        "chown 0 .",
        "nice -n -5 true",
        "mount -t tmpfs tmpfs /tmp",
        "mount --bind /proc /tmp",
        "umount /tmp",
        "mknod device b 254 0",
        "sh -c 'setpriv --reuid 0 true || exit 1'",
        "su -c true",
        "dmesg",
        "sh -c 'for d in /usr/bin /usr/local /etc/alternatives /home; do touch $d/x && exit; done;"
        " exit 1'",
        "sh -c 'for d in /run /var /bin /lib /sbin; do touch $d/x && exit; done; exit 1'",
        "sh -c ': >>/etc/passwd'",
        "sh -c ': >>/etc/ld.so.cache'",
        "sh -c ': >>/usr/bin/env'",
    ],
)
def test_attempts_that_are_refused(box, attempt):
    done = box.run("--", "sh", "-c", f"{attempt} 2>message; code=$?; cat message; exit $code")
    if attempt.startswith("nice"):  # it says so and runs the command all the same
        assert "cannot set niceness" in done.stdout or "Permission denied" in done.stdout
    else:
        assert done.returncode not in (0, 127), done


def test_a_setuid_program_in_the_tree_gains_nothing(box):
    box.sh("cp /usr/bin/id id; chmod u+s id; test $(./id -u) != 0; test $(./id -ru) != 0")


OPEN_ALL = """
import os
for top, folders, files in os.walk('/proc'):
    if top == '/proc':
        folders[:] = [name for name in folders if not name.isdigit() and name != 'self']
        folders[:] = [name for name in folders if name != 'thread-self']
    for name in files:
        try:
            os.close(os.open(os.path.join(top, name), os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            continue
        print(os.path.join(top, name))
"""


def test_no_setting_of_the_kernel_can_be_opened_for_writing(box):
    """To root they belong: /proc/sys/kernel/core_pattern alone would be the whole host."""
    assert box.python(OPEN_ALL) == ""


def test_devices_are_the_harmless_ones(box):
    assert set(box.sh("find /dev -type c -not -path '/dev/pts/*'").split()) <= {
        *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"),
        "/dev/console",
    }
