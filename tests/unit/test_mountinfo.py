"""The kernel's table of mounts, and which of them shows a path."""

from __future__ import annotations

import pytest

from vfsd import mountinfo

TABLE = b"""\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 22 0:43 / /virtual rw,nosuid shared:2 - fuse.vfsd vfsd rw,user_id=0
91 90 0:44 / /virtual/inner rw - tmpfs tmpfs rw
92 22 0:45 / /with\\040space\\134slash rw - fuse.vfsd vfsd rw,user_id=1
93 22 0:46 / /covered rw - fuse.vfsd vfsd rw
94 93 0:47 / /covered rw - tmpfs tmpfs rw
95 22 0:48 / /below/deep rw - fuse.vfsd vfsd rw
96 22 0:49 / /below rw - tmpfs tmpfs rw
odd line
short 1 - fuse.vfsd
"""


@pytest.mark.parametrize(
    ("path", "mountpoint", "kind"),
    [
        (b"/virtual", b"/virtual", b"fuse.vfsd"),
        (b"/virtual/app/src", b"/virtual", b"fuse.vfsd"),
        (b"/virtual2", b"/", b"ext4"),
        (b"/virtual/inner/x", b"/virtual/inner", b"tmpfs"),
        (b"/virtual/inner2", b"/virtual", b"fuse.vfsd"),
        (b"/with space\\slash/x", b"/with space\\slash", b"fuse.vfsd"),
        (b"/covered/x", b"/covered", b"tmpfs"),
        (b"/below/deep/x", b"/below", b"tmpfs"),
        (b"/", b"/", b"ext4"),
    ],
)
def test_the_mount_that_shows(path, mountpoint, kind):
    shown = mountinfo.showing(mountinfo.parse(TABLE), path)
    assert shown is not None
    assert (shown.mountpoint, shown.kind) == (mountpoint, kind)


def test_a_table_without_its_root_is_read_as_far_as_it_goes():
    mounts = mountinfo.parse(b"90 22 0:43 / /virtual rw - fuse.vfsd vfsd rw\n")
    assert mountinfo.showing(mounts, b"/elsewhere") is None
    assert mountinfo.showing(mounts, b"/virtual/x") == mounts[0]


def test_escapes_are_undone_and_odd_lines_passed_over():
    mounts = mountinfo.parse(TABLE)
    assert len(mounts) == 8
    assert mounts[3] == (
        92,
        22,
        b"0:45",
        b"/with space\\slash",
        b"fuse.vfsd",
        b"vfsd",
        b"rw,user_id=1",
    )


def test_the_kernel_s_own_table_is_read():
    assert mountinfo.showing(mountinfo.read(), b"/proc/self/mountinfo").kind == b"proc"
