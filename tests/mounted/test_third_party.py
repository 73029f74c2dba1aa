"""A third party's path provider, registered as an entry point and served by a mount."""

import errno
import os
import re
import subprocess

import pytest

pytestmark = pytest.mark.fuse


@pytest.fixture
def packages(tmp_path):
    """Metadata of an installed package that registers the example provider as ``dict``."""
    tmp_path.chmod(0o755)
    info = tmp_path / "thirdparty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[vfsd.providers]\ndict = tests.conformance.dict_provider:DictProvider\n"
    )
    return tmp_path


@pytest.fixture
def path(vfsd_mount, packages):
    return vfsd_mount("dict", packages=packages).path


def test_ordinary_programs_work_on_it(path):
    script = """set -e
        mkdir -p src/deep
        echo hello > src/deep/a
        cp -r src copy
        mv copy/deep/a copy/b
        ln -s ../src link
        echo more >> src/deep/a
        grep -r more src
        find . | sort
        rm -r copy
        ls
    """
    done = subprocess.run(["sh", "-c", script], cwd=path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        *("src/deep/a:more", ".", "./copy", "./copy/b", "./copy/deep", "./link", "./src"),
        *("./src/deep", "./src/deep/a", "link", "src"),
    ]


def test_what_it_cannot_do_is_refused(path):
    (path / "f").write_bytes(b"data")
    for code, call, *arguments in (
        (errno.EPERM, os.link, path / "f", path / "g"),
        (errno.EPERM, os.mkfifo, path / "p"),
        (errno.ENOTSUP, os.setxattr, path / "f", "user.a", b"1"),
        (errno.EFBIG, os.truncate, path / "f", 1 << 40),
    ):
        with pytest.raises(OSError, match=re.escape(os.strerror(code))):
            call(*arguments)
    assert (path / "f").read_bytes() == b"data"


def test_data_is_right_through_handles_and_names(path):
    fd = os.open(path / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 300_000)
    os.rename(path / "f", path / "g")
    os.pwrite(fd, b"start", 0)
    assert (path / "g").read_bytes() == b"start" + b"x" * 299_995
    os.unlink(path / "g")
    assert os.pread(fd, 5, 0) == b"start"
    os.close(fd)
    assert os.listdir(path) == []
