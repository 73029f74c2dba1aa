"""HTTP through a mount: programs read what the server has, and each byte is asked for once."""

import errno
import os
import random
import subprocess
import time

import pytest

pytestmark = pytest.mark.fuse

BIG = random.Random(8).randbytes(5_000_000)


def sh(script, cwd):
    done = subprocess.run(
        ["bash", "-ec", script], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_ordinary_programs_read_it(web, attach, tmp_path):
    odd = b"caf\xc3\xa9 %41 \xff#?&.txt".decode("utf-8", "surrogateescape")
    web.files = {"a.txt": b"hello\n", "big": BIG, "d/e/deep": b"needle\n", f"d/{odd}": b"odd\n"}
    path = attach(web.url)
    assert sh("ls; cat a.txt; grep -rl needle .; find . -type d | sort", path).split() == [
        *("a.txt", "big", "d", "hello", "./d/e/deep", ".", "./d", "./d/e")
    ]
    assert (path / "d" / odd).read_bytes() == b"odd\n"
    sh(f"cp -r . {tmp_path}/copy; cmp big {tmp_path}/copy/big; tail -c 1000 big >/dev/null", path)
    assert (tmp_path / "copy/d/e/deep").read_bytes() == b"needle\n"
    sh(f"dd if=big bs=1000 skip=1234 count=3 status=none of={tmp_path}/cut", path)
    assert (tmp_path / "cut").read_bytes() == BIG[1_234_000:1_237_000]
    with open(path / "big", "rb", buffering=0) as file:
        for offset in random.Random(1).sample(range(len(BIG)), 50):
            assert os.pread(file.fileno(), 3000, offset) == BIG[offset : offset + 3000]
    stat = (path / "big").stat()
    assert (stat.st_size, stat.st_mtime) == (len(BIG), 1767225600)


def test_each_byte_is_fetched_once(web, attach, counters):
    web.files = {"big": BIG}
    path = attach(web.url)
    readers = [subprocess.Popen(["md5sum", path / "big"], stdout=subprocess.PIPE) for _ in range(6)]
    sums = {reader.communicate(timeout=60)[0] for reader in readers}
    assert len(sums) == 1
    assert (path / "big").read_bytes() == BIG
    spans = sorted(tuple(map(int, each[6:].split("-"))) for each in web.gets("big"))
    assert [first for first, _ in spans] == [0, *(last + 1 for _, last in spans[:-1])]
    assert counters()["fetched_bytes"] == len(BIG)


def test_the_cache_is_bounded_and_random_reads_fetch_one_block(web, attach, counters):
    web.files = {"big": BIG}
    path = attach(web.url, "cache=512K", "block=64K")
    with open(path / "big", "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        assert os.pread(file.fileno(), 10, 1_000_000) == BIG[1_000_000:1_000_010]
    assert web.gets("big") == ["bytes=983040-1048575"]
    assert (path / "big").read_bytes() == BIG
    assert counters()["cached_bytes"] <= 512 << 10


def test_what_did_not_change_is_not_read_again(web, attach):
    web.files = {"f": BIG}
    path = attach(web.url, "cache=512K", "ttl=0")
    assert (path / "f").read_bytes() == BIG
    web.asked.clear()
    assert (path / "f").read_bytes() == BIG
    assert web.gets("f") == [], "the kernel keeps the data of a version"


def test_a_file_that_changes_on_the_server_is_read_anew(web, attach):
    web.files = {"f": b"old" * 1000, "same": b"1" * 1000}
    path = attach(web.url, "ttl=0")
    with open(path / "f", "rb", buffering=0) as file:
        assert file.read(3) == b"old"
        web.files = {"f": b"newer" * 1000, "same": b"2" * 1000}
        time.sleep(1.1)  # the kernel keeps attributes for a second
        assert (path / "f").read_bytes() == b"newer" * 1000
        assert os.pread(file.fileno(), 5, 4995) == b"newer"
    assert (path / "same").read_bytes() == b"2" * 1000
    del web.files["f"]
    time.sleep(1.1)
    assert not (path / "f").exists()
    assert sorted(os.listdir(path)) == ["same"]


def test_within_the_ttl_nobody_is_asked(web, attach):
    web.files = {"d/f": b"data"}
    path = attach(web.url, "ttl=forever")
    assert (path / "d/f").read_bytes() == b"data"
    web.asked.clear()
    for _ in range(3):
        assert sorted(os.listdir(path / "d")) == ["f"]
        assert (path / "d/f").read_bytes() == b"data"
        assert not (path / "d/missing").exists()
    assert [path for _, path, _ in web.asked] == ["d/missing"] * 2, "asked by HEAD and GET, once"


def test_nothing_can_be_changed(web, attach):
    web.files = {"d/f": b"data"}
    path = attach(web.url)
    for call, *arguments in (
        (os.unlink, path / "d/f"),
        (os.mkdir, path / "new"),
        (os.rename, path / "d/f", path / "g"),
        (os.truncate, path / "d/f", 0),
        (os.setxattr, path / "d/f", "user.a", b"1"),
        (os.open, path / "d/f", os.O_WRONLY),
    ):
        with pytest.raises(OSError) as caught:
            call(*arguments)
        assert caught.value.errno in (errno.EROFS, errno.EOPNOTSUPP)
    assert os.getxattr(path / "d/f", "user.vfsd.provider") == b"fsspec"
    assert os.getxattr(path / "d/f", "user.vfsd.origin") == b"d/f"
    assert os.getxattr(path, "user.vfsd.origin") == b"."


def test_numbers_are_the_same_when_it_is_attached_again(web, attach, mount):
    web.files = {"d/f": b"data"}
    inside = []
    for _ in range(2):
        path = attach(web.url)
        inside.append((path / "d/f").stat().st_ino & (1 << 48) - 1)
        mount.vfsd("detach", str(path))
    assert inside[0] == inside[1]


def test_the_control_socket_reads_the_same(web, attach, mount):
    web.files = {"d/f": b"data\n", "big": BIG}
    path = attach(web.url)
    assert mount.vfsd("cat", str(path / "d/f")).stdout == "data\n"
    assert mount.vfsd("ls", str(path)).stdout.split() == ["big", "d"]
    done = mount.vfsd("get", str(path / "big"), str(mount.root / "copy"))
    assert (done.returncode, (mount.root / "copy").read_bytes()) == (0, BIG)


def test_credentials_reach_the_server_and_nobody_else(web, attach, mount):
    web.files = {"f": b"data"}
    url = web.url.replace("//", "//alice:s3cret-word@") + "?token=t0ken-word"
    path = attach(url)
    assert (path / "f").read_bytes() == b"data"
    assert all(each and each.startswith("Basic ") for each in web.authorizations)
    web.statuses["f2"] = 500
    web.files["f2"] = b""
    mount.expected_logs.append("looking at http")
    with pytest.raises(OSError, match="Input/output"):
        os.stat(path / "f2")
    texts = [
        mount.vfsd("status", str(mount.path)).stdout,
        mount.vfsd("status", "--json", str(mount.path)).stdout,
        mount.vfsd("tree", str(mount.path)).stdout,
        (mount.path / ".vfsd/attachments").read_text(),
        (mount.path / ".vfsd/status.json").read_text(),
        os.getxattr(path / "f", "user.vfsd.origin").decode(),
        mount.log(),
        mount.vfsd("attach", "fsspec:" + url.replace(str(web.port), "9"), str(path) + "2").stderr,
    ]
    assert "127.0.0.1" in texts[0]
    for text in texts:
        assert text
        assert "s3cret" not in text
        assert "t0ken" not in text
        assert "alice" not in text
