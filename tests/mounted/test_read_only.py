"""A read-only mount refuses every change, as a read-only tmpfs would, and stays as it was."""

import errno
import os
import re

import pytest

pytestmark = pytest.mark.fuse


def test_every_change_is_refused(vfsd_mount):
    path = vfsd_mount("--read-only").path
    before = os.stat(path)
    for call, *arguments in (
        (os.open, path / "f", os.O_WRONLY | os.O_CREAT, 0o644),
        (os.mkdir, path / "d"),
        (os.symlink, "target", path / "l"),
        (os.mkfifo, path / "p"),
        (os.mknod, path / "n", 0o100644),
        (os.chmod, path, 0o700),
        (os.chown, path, os.getuid(), os.getgid()),
        (os.utime, path),
        (os.setxattr, path, "user.a", b"1"),
    ):
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.EROFS))):
            call(*arguments)
    for call, *arguments in (
        (os.unlink, path / "f"),
        (os.rmdir, path / "d"),
        (os.rename, path / "f", path / "g"),
        (os.link, path / "f", path / "g"),
    ):
        # The kernel may look for the name first, or at the mount's flag first.
        with pytest.raises(OSError, match=r"Read-only file system|No such file or directory"):
            call(*arguments)
    assert not os.access(path, os.W_OK)
    assert os.statvfs(path).f_flag & os.ST_RDONLY
    assert os.listdir(path) == []
    after = os.stat(path)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
