"""Drivers of fsspec other than HTTP, what is refused, and sources in every place they may stand."""

import hashlib
import io
import os
import random
import subprocess
import tarfile
import zipfile

import pytest

pytestmark = pytest.mark.fuse

FILES = {
    "a.txt": b"hello\n",
    "sub/big": random.Random(3).randbytes(2_000_000),
    "sub/deep/caf\u00e9 @ref:x": b"odd name\n",
}


def check(path):
    """Compare what programs find at `path` with FILES."""
    script = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum --zero"
    done = subprocess.run(["sh", "-c", script], cwd=path, capture_output=True, check=True)
    found = [line.split(b"  ./", 1) for line in done.stdout.split(b"\0") if line]
    sums = {os.fsdecode(name): digest.decode() for digest, name in found}
    assert sums == {name: hashlib.md5(data).hexdigest() for name, data in FILES.items()}
    with open(path / "sub/big", "rb", buffering=0) as file:
        for offset in (1_500_000, 3, 1_999_999, 700_000):
            want = FILES["sub/big"][offset : offset + 5000]
            assert os.pread(file.fileno(), 5000, offset) == want


def make_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return path


def make_tar(path, prefix=""):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in FILES.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_archives_on_the_host_and_on_a_server(web, attach, tmp_path):
    make_zip(tmp_path / "a.zip")
    check(attach(f"zip::file://{tmp_path}/a.zip", name="zip"))
    check(attach(f"tar::{make_tar(tmp_path / 'a.tar.gz')}", name="tgz"))
    check(attach(f"tar::file://{make_tar(tmp_path / 'dot.tar', './')}", name="dot"))
    web.files = {"a.zip": (tmp_path / "a.zip").read_bytes()}
    check(attach(f"zip::{web.url}a.zip", name="web"))


def test_a_commit_of_a_git_repository(attach, tmp_path):
    pytest.importorskip("pygit2")
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q", "-b", "trunk"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "a.txt").write_bytes(b"not committed\n")
    path = attach(f"git://{tmp_path}:trunk@", name="git")
    assert (path / "a.txt").read_bytes() == b"hello\n"
    assert (path / "sub/big").read_bytes() == FILES["sub/big"]


def test_an_object_store(attach):
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        _host, port = server.get_host_and_port()
        boto3 = pytest.importorskip("boto3")
        keys = {"aws_access_key_id": "an-access-key", "aws_secret_access_key": "a-secret-key"}
        store = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **keys
        )
        store.create_bucket(Bucket="bucket")
        for name, data in FILES.items():
            store.put_object(Bucket="bucket", Key=f"prefix/{name}", Body=data)
        options = [
            *("fs.key=an-access-key", "fs.secret=a-secret-key"),
            f"fs.client_kwargs.endpoint_url=http://127.0.0.1:{port}",
        ]
        check(attach("s3://bucket/prefix", *options, name="s3"))
        store.put_object(Bucket="bucket", Key="both", Body=b"file")
        store.put_object(Bucket="bucket", Key="both/below", Body=b"below")
        store.put_object(Bucket="bucket", Key="marker/", Body=b"")
        path = attach("s3://bucket", *options, name="all")
        assert sorted(os.listdir(path)) == ["both", "marker", "prefix"]
        assert (path / "both/below").read_bytes() == b"below"
        assert os.listdir(path / "marker") == []
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("file:///etc", 4, "attach the directory itself"),
        ("local:///etc", 4, "attach the directory itself"),
        ("dir::file:///etc", 4, "attach the directory itself"),
        ("simplecache::file:///etc", 4, "attach the directory itself"),
        ("filecache::local:///etc", 4, "attach the directory itself"),
        ("reference::http://127.0.0.1:9/list", 4, "is not served"),
        ("nonsense://x", 2, "knows no file system 'nonsense'"),
        ("memory", 2, "needs a URL"),
        ("dropbox://x", 6, "pip install 'vfsd[fsspec]' 'fsspec[dropbox]'"),
        ("zip::file:///nowhere.zip", 5, "No such file"),
        ("http://127.0.0.1:9/", 6, "cannot be listed"),
    ],
)
async def test_what_cannot_be_attached_is_told(source, code, said):
    from providers.remote import FsspecProvider
    from vfsd.errors import UserError

    with pytest.raises(UserError) as caught:
        await FsspecProvider.from_options(source, {})
    assert caught.value.exit_code == code
    assert said in caught.value.message
    assert "\n" not in caught.value.message


async def test_without_fsspec_the_extra_is_named(monkeypatch):
    import sys

    from providers.remote import FsspecProvider
    from vfsd.errors import UserError

    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UserError, match=r"pip install 'vfsd\[fsspec\]'") as caught:
        await FsspecProvider.from_options("memory://", {})
    assert caught.value.exit_code == 6


def test_an_archive_inside_the_own_mount_is_refused(mount, tmp_path):
    make_zip(mount.path / "a.zip")
    for url in (f"zip::file://{mount.path}/a.zip", f"zip::{mount.path}/a.zip"):
        done = mount.vfsd("attach", f"fsspec:{url}", str(mount.path / "r"))
        assert done.returncode == 4
        assert "lies inside the mount" in done.stderr


def test_as_root_in_a_file_and_below_an_overlay(vfsd_mount, tmp_path):
    make_zip(tmp_path / "a.zip")
    tmp_path.chmod(0o755)
    file = tmp_path / "tree.toml"
    file.write_text(
        '[[attach]]\nprefix = "z"\nsource = "fsspec:zip::a.zip"\n'
        'options = { ttl = "forever", cache = "8M" }\n'
        '[[attach]]\nprefix = "o"\nsource = "overlay"\n'
        'options = { lower = "fsspec\\\\:zip\\\\:\\\\:a.zip" }\n'
    )
    mount = vfsd_mount("--config", str(file))
    check(mount.path / "z")
    check(mount.path / "o")
    (mount.path / "o/a.txt").write_bytes(b"changed\n")
    assert (mount.path / "o/a.txt").read_bytes() == b"changed\n"
    assert (mount.path / "z/a.txt").read_bytes() == b"hello\n"
    root = vfsd_mount(f"fsspec:zip::file://{tmp_path}/a.zip")
    check(root.path)
