"""Whatever an archive says, nothing is written outside, nothing is kept, and the error says why."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pwd
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.snapshots.randomtree import fill
from tests.unit.snapshots.test_layertar import imported, tree_tar
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.ociimport import Import
from vfsd.snapshots.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **more) -> tuple:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.uid, info.gid = os.geteuid(), os.getegid()
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def archive(*members: tuple) -> bytes:
    """Write exactly these members: no library of writers refuses anything."""
    out = io.BytesIO()
    for info, data in members:
        out.write(info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple:
    return member(name, kind, linkname=target)


DIRECTORY = tarfile.DIRTYPE

REFUSED = {
    "an absolute name": [member("/etc/passwd", data=b"x")],
    "a name that leads out": [member("a/../../x", data=b"x")],
    "a directory that leads out": [member("..", DIRECTORY)],
    "through a symlink": [link("a", "/"), member("a/x", data=b"x")],
    "through a symlink that leads out": [link("a", "../.."), member("a/x", data=b"x")],
    "through two symlinks": [link("a", "b"), link("b", "/"), member("a/x/y", data=b"x")],
    "through a symlink that was a directory a moment ago": [
        member("a/y", data=b"x"),
        link("a", "/"),
        member("a/x", data=b"x"),
    ],
    "through a symlink above the directory of the file before": [
        member("a/b/y", data=b"x"),
        link("a", "/"),
        member("a/b/x", data=b"x"),
    ],
    "through a file": [member("a", data=b"x"), member("a/x", data=b"x")],
    "a whiteout through a symlink": [link("a", "/"), member("a/.wh.etc")],
    "an opaque mark through a symlink": [link("a", "/"), member("a/.wh..wh..opq")],
    "a whiteout of the directory above": [member("a/.wh...")],
    "a whiteout of nothing": [member("a/.wh.")],
    "a hard link that leads out": [link("a", "../../etc/passwd", tarfile.LNKTYPE)],
    "a hard link through a symlink": [
        link("a", "/etc"),
        link("b", "a/passwd", tarfile.LNKTYPE),
    ],
    "a hard link to nothing": [link("a", "nothing", tarfile.LNKTYPE)],
    "a hard link to a directory": [member("d", DIRECTORY), link("a", "d", tarfile.LNKTYPE)],
    "a link to what it replaces": [member("a/b"), link("a", "a/b", tarfile.LNKTYPE)],
    "a symlink to nothing": [link("a", "")],
    "a name that is too long": [member("x" * 256, data=b"x")],
    "a path that is too long": [member("x/" * 2100 + "x", data=b"x")],
    "a file for a root": [member(".", data=b"x")],
    "an unknown type": [member("a", b"Q")],
    "an owner that is none": [member("a", pax_headers={"uid": "99999999999"})],
    "a number that is none": [member("a", pax_headers={"size": "-1"})],
    "a size beyond all bounds": [member("a", pax_headers={"size": "9" * 19})],
    "more data than there is": [member("a", pax_headers={"size": "1000000000"})],
    "a sparse file beyond all bounds": [
        member("a", pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": "9" * 18})
    ],
    "a sparse file with a map that goes back": [
        member(
            "a",
            data=bytes(20),
            pax_headers={"GNU.sparse.map": "10,10,5,10", "GNU.sparse.size": "99"},
        )
    ],
    "a sparse file with more than it has": [
        member("a", data=b"x", pax_headers={"GNU.sparse.map": "0,9", "GNU.sparse.size": "9"})
    ],
    "a sparse file without a size": [member("a", pax_headers={"GNU.sparse.map": "0,0"})],
    "a sparse file with a map that never ends": [
        member(
            "a",
            data=b"99999999\n" + b"0\n" * 300,
            pax_headers={
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.realsize": "5",
            },
        )
    ],
    "an extended header without end": [member("a", tarfile.XHDTYPE, size=1 << 40)],
    "a long name without end": [member("a", tarfile.GNUTYPE_LONGNAME, size=1 << 40)],
    "an extended header that is none": [member("a", tarfile.XHDTYPE, b"99 path=x\n")],
    "an extended header of nothing": [member("a", tarfile.XHDTYPE, b"0 =\n"), member("b")],
}


def outside(place: Path) -> dict:
    return {path: path.lstat() for path in sorted(place.rglob("*"))}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_and_nothing_is_kept(tmp_path, store, what):
    guarded = tmp_path / "guarded"
    guarded.mkdir()
    (guarded / "file").write_text("as it was")
    before = outside(guarded), os.stat("/etc/passwd"), sorted(os.listdir("/"))
    (tmp_path / "a.tar").write_bytes(archive(*REFUSED[what]))
    with pytest.raises(UserError) as refused:
        Import(store).run(str(tmp_path / "a.tar"), "it")
    assert refused.value.exit_code == ExitCode.DAMAGED
    assert refused.value.message
    assert (outside(guarded), os.stat("/etc/passwd"), sorted(os.listdir("/"))) == before
    assert store.names() == []
    assert store.layers() == []
    assert os.listdir(store.place.staging) == []


def test_the_last_of_several_entries_counts(tmp_path, store):
    data = archive(
        member("f", data=b"first"),
        member("f", data=b"second"),
        link("l", "/etc/passwd"),
        member("l", data=b"no link any more"),
        member("d/inner", data=b"x"),
        member("d", data=b"a file now"),
        member("e", data=b"a file"),
        member("e", DIRECTORY, mode=0o700),
        member("e/inner", data=b"y"),
        member("./e//./inner", data=b"z"),
        member("g/h/gone", data=b"x"),
        member("g", data=b"a file for a moment"),
        member("g/", DIRECTORY),
        member("g/h/stays", data=b"w"),
    )
    (tmp_path / "a.tar").write_bytes(data)
    found = imported(store, tmp_path / "a.tar")
    assert {path: state[5] for path, state in found.items() if state[5] is not None} == {
        b"f": b"second",
        b"l": b"no link any more",
        b"d": b"a file now",
        b"e/inner": b"z",
        b"g/h/stays": b"w",
    }


def test_attributes_of_the_overlay_do_not_get_in(tmp_path, store):
    headers = {f"SCHILY.xattr.user.overlay.{name}": "/etc" for name in ("redirect", "metacopy")}
    headers["SCHILY.xattr.user.fine"] = "1"
    (tmp_path / "a.tar").write_bytes(archive(member("f", data=b"x", pax_headers=headers)))
    work = Import(store)
    work.run(str(tmp_path / "a.tar"), "it")
    assert len(work.incomplete) == 2
    [layer] = store.layers()
    assert os.listxattr(store.place.layer(layer, "tree/f")) == ["user.fine"]


def test_a_small_file_that_expands_for_ever(tmp_path, store):
    with gzip.open(tmp_path / "bomb.gz", "wb") as file:
        head = archive(member("zeros", size=1 << 32))[:512]
        file.write(head)
        for _ in range(64):
            file.write(bytes(1 << 20))
    assert (tmp_path / "bomb.gz").stat().st_size < 1 << 18
    with pytest.raises(UserError, match="more than the limit") as refused:
        Import(store, limit_bytes=1 << 24).run(str(tmp_path / "bomb.gz"), "it")
    assert refused.value.exit_code == ExitCode.DAMAGED
    assert os.listdir(store.place.staging) == []


def test_an_image_is_bounded_over_all_its_layers(tmp_path, store):
    layer = gzip.compress(archive(member("f", data=bytes(5 << 20))))
    root = image(tmp_path, [layer] * 4, [archive(member("f", data=bytes(5 << 20)))] * 4)
    Import(store, limit_bytes=24 << 20).run(str(root), "fits")
    with pytest.raises(UserError, match="more than the limit"):
        Import(store, limit_bytes=18 << 20).run(str(root), "it")


def image(place: Path, layers: list[bytes], plain: list[bytes]) -> Path:
    root = place / "image"
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    ids = ["sha256:" + hashlib.sha256(data).hexdigest() for data in plain]
    config = put(json.dumps({"rootfs": {"diff_ids": ids}}).encode())
    manifest = put(
        json.dumps({"config": config, "layers": [put(each) for each in layers]}).encode()
    )
    (root / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return root


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[]",
        b"{}",
        b'{"manifests": []}',
        b'{"manifests": [1]}',
        b'{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}',
        b'{"manifests": [{"digest": "md5:00"}]}',
        b'{"manifests": [{"digest": "sha256:' + b"0" * 64 + b'"}]}',
        b'{"manifests": [{"digest": 5}]}',
        b"[" * 100_000,
        b'{"manifests": ' + b"[" * 5_000_000,
    ],
)
def test_an_index_that_is_none(tmp_path, store, index):
    root = image(tmp_path, [], [])
    (root / "index.json").write_bytes(index)
    with pytest.raises(UserError) as refused:
        Import(store).run(str(root), "it")
    assert refused.value.exit_code in (ExitCode.DAMAGED, ExitCode.USAGE)


def test_every_flipped_byte_of_an_image_is_noticed(tmp_path, store):
    data = archive(member("f", data=b"content"))
    root = image(tmp_path, [gzip.compress(data, mtime=0)], [data])
    for blob in sorted((root / "blobs" / "sha256").iterdir()):
        whole = blob.read_bytes()
        for position in range(0, len(whole), 7):
            damaged = bytearray(whole)
            damaged[position] ^= 1
            blob.write_bytes(damaged)
            with pytest.raises(UserError):
                Import(store).run(str(root), "it")
        blob.write_bytes(whole)
    Import(store).run(str(root), "it")


def test_an_index_that_leads_to_itself(tmp_path, store):
    root = image(tmp_path, [], [])
    blobs = root / "blobs" / "sha256"
    # No digest can hold itself; a chain of many is what there can be.
    inner = json.loads((root / "index.json").read_text())
    for _ in range(10):
        data = json.dumps(inner).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        inner = {"manifests": [{"digest": f"sha256:{digest}"}]}
    (root / "index.json").write_text(json.dumps(inner))
    with pytest.raises(UserError, match="lead to each other"):
        Import(store).run(str(root), "it")


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zlib.compress])
def test_random_damage_is_told_and_never_worse(tmp_path, store, compress):
    fill(tmp_path / "a", random.Random(2))
    whole = compress(tree_tar(tmp_path / "a"))
    rng = random.Random(3)
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 3, 30])):
            damaged[rng.randrange(min(len(damaged), 40_000))] = rng.randrange(256)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged)) :]
        (tmp_path / "a.tar").write_bytes(damaged)
        with suppress(UserError):
            Import(store).run(str(tmp_path / "a.tar"), "it", replace=True)
    assert os.listdir(store.place.staging) == []


SCRIPT = """
import sys
from vfsd.snapshots.ociimport import Import
from vfsd.snapshots.store import Store
work = Import(Store(sys.argv[1]))
work.run(sys.argv[2], "it")
print(sorted(path.decode() for path, _ in work.left_out))
print(sorted({path.decode() for path, _ in work.incomplete}))
"""


@pytest.mark.root
def test_an_ordinary_user_goes_without_devices_and_owners():
    ids = pwd.getpwnam("nobody")
    place = Path(tempfile.mkdtemp(prefix="vfsd-import-"))
    try:
        data = archive(
            member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
            member("dev/disk", tarfile.BLKTYPE, devmajor=8, devminor=0),
            member("fifo", tarfile.FIFOTYPE, uid=ids.pw_uid, gid=ids.pw_gid),
            member("roots", data=b"x", uid=0, gid=0, mode=0o4755),
            member("mine", data=b"y", uid=ids.pw_uid, gid=ids.pw_gid),
        )
        (place / "a.tar").write_bytes(data)
        for path in (place, place / "a.tar"):
            os.chown(path, ids.pw_uid, ids.pw_gid)
        done = subprocess.run(
            [
                *("setpriv", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}", "--clear-groups"),
                *(sys.executable, "-c", SCRIPT, place / "store", place / "a.tar"),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert done.stderr == ""
        assert done.stdout.splitlines() == ["['dev/disk', 'dev/null']", "['roots']"]
    finally:
        shutil.rmtree(place)
