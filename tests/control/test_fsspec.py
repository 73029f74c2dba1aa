"""fsspec's ``vfsd://`` over a real mount: what it does is seen through the mount, and back."""

from __future__ import annotations

import errno
import os
import pickle

import fsspec
import pytest

import vfsd
from vfsd.fsspecfiles import VfsdFileSystem

pytestmark = pytest.mark.fuse


@pytest.fixture
def mounted():
    # Each test its own: fsspec keeps a file system, with its connections, for the next.
    fsspec.filesystem("vfsd").clear_instance_cache()
    with vfsd.mount(attach={"other": "memory"}) as mounted:
        yield mounted


@pytest.fixture
def files(mounted):
    return fsspec.filesystem("vfsd")


@pytest.fixture
def root(mounted):
    return str(mounted.path)


def test_urls_are_read_and_written(mounted):
    with fsspec.open(f"vfsd://{mounted.path}/table.csv", "w") as file:
        file.write("a,b\n1,2\n")
    assert (mounted.path / "table.csv").read_text() == "a,b\n1,2\n"
    with fsspec.open(f"vfsd://{mounted.path}/table.csv") as file:
        assert file.read() == b"a,b\n1,2\n"
    with fsspec.open(f"vfsd://{mounted.path}/z.gz", "wt", compression="gzip") as file:
        file.write("x" * 100_000)
    with fsspec.open(f"vfsd://{mounted.path}/z.gz", "rt", compression="gzip") as file:
        assert file.read() == "x" * 100_000


def test_large_files_are_read_in_pieces_and_ranges(mounted, files, root):
    data = os.urandom((3 << 20) + 17)
    files.pipe_file(f"{root}/big", data)
    assert (mounted.path / "big").read_bytes() == data
    with files.open(f"{root}/big", "rb") as file:
        file.seek(1_000_000)
        assert file.read(1_500_000) == data[1_000_000:2_500_000]
        file.seek(-10, os.SEEK_END)
        assert file.read() == data[-10:]
    for start, end in ((5, 10), (None, 7), (-7, None), (10, 5), (0, 1 << 40), (1, (2 << 20) + 9)):
        assert files.cat_file(f"{root}/big", start, end) == data[start:end]
    assert files.cat_ranges([f"{root}/big"] * 2, [0, 9], [4, 11]) == [data[:4], data[9:11]]
    with files.open(f"{root}/big", "ab") as file:
        file.write(b"end")
    assert files.size(f"{root}/big") == len(data) + 3


def test_listing_and_looking(mounted, files, root):
    (mounted.path / "dir").mkdir()
    (mounted.path / "dir" / "file").write_text("data")
    os.symlink("dir/file", mounted.path / "link")
    os.symlink("nowhere", mounted.path / "broken")
    os.mkfifo(mounted.path / "fifo")
    told = {os.path.basename(each["name"]): each for each in files.ls(root)}
    assert {name: each["type"] for name, each in told.items()} == {
        **{"dir": "directory", "link": "file", "broken": "link"},
        **{"fifo": "other", "other": "directory"},
    }
    assert (told["link"]["size"], told["link"]["islink"]) == (4, True)
    assert files.ls(f"{root}/dir", detail=False) == [f"{root}/dir/file"]
    assert files.ls(f"vfsd://{root}/dir/file", detail=False) == [f"{root}/dir/file"]
    assert files.info(f"{root}/dir/file")["mtime"] == pytest.approx(
        (mounted.path / "dir" / "file").stat().st_mtime
    )
    assert files.find(root) == [f"{root}/{n}" for n in ("broken", "dir/file", "fifo", "link")]
    assert files.glob(f"{root}/*/f*") == [f"{root}/dir/file"]
    assert files.isdir(f"{root}/dir")
    assert not files.exists(f"{root}/none")
    # Nothing is remembered that the mount knows better.
    (mounted.path / "dir" / "new").touch()
    assert files.ls(f"{root}/dir", detail=False) == [f"{root}/dir/file", f"{root}/dir/new"]


def test_names_that_are_not_utf8(mounted, files, root):
    (mounted.path / os.fsdecode(b"caf\xe9 # ?%20")).write_text("odd")
    (name,) = [each for each in files.ls(root, detail=False) if "caf" in each]
    assert files.cat_file(name) == b"odd"


def test_names_are_made_moved_and_removed(mounted, files, root):
    files.mkdir(f"{root}/a/b")
    with pytest.raises(FileExistsError):
        files.mkdir(f"{root}/a/b")
    with pytest.raises(FileExistsError):
        files.makedirs(f"{root}/a/b")
    files.makedirs(f"{root}/a/b", exist_ok=True)
    files.pipe({f"{root}/a/b/one": b"1", f"{root}/a/two": b"2"})
    with pytest.raises(FileExistsError):
        files.pipe_file(f"{root}/a/two", b"", mode="create")
    files.mv(f"{root}/a", f"{root}/moved")
    assert (mounted.path / "moved" / "b" / "one").read_text() == "1"
    files.copy(f"{root}/moved", f"{root}/copied", recursive=True)
    assert (mounted.path / "copied" / "b" / "one").read_text() == "1"
    with pytest.raises(OSError) as failed:
        files.mv(f"{root}/moved/two", f"{root}/other/two")
    assert failed.value.errno == errno.EXDEV
    with pytest.raises(OSError) as failed:
        files.rmdir(f"{root}/moved")
    assert failed.value.errno == errno.ENOTEMPTY
    with pytest.raises(IsADirectoryError):
        files.rm(f"{root}/moved")
    files.rm(f"{root}/moved/two")
    files.rm(f"{root}/moved", recursive=True)
    assert sorted(os.listdir(root)) == ["copied", "other"]


def test_trees_come_and_go(files, root, tmp_path):
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "deep" / "file").write_text("data")
    files.put(str(tmp_path / "from"), f"{root}/to", recursive=True)
    files.get(f"{root}/to", str(tmp_path / "back"), recursive=True)
    assert (tmp_path / "back" / "deep" / "file").read_text() == "data"


def test_what_no_daemon_serves_is_not_found(files, tmp_path):
    with pytest.raises(FileNotFoundError, match="no vfsd daemon serves"):
        files.ls(str(tmp_path))
    assert not files.exists(f"{tmp_path}/none")


def test_errors_are_those_of_the_system_calls(mounted, files, root):
    with pytest.raises(FileNotFoundError):
        files.cat_file(f"{root}/none")
    with pytest.raises(FileNotFoundError):
        files.open(f"{root}/none/file", "wb")
    with pytest.raises(IsADirectoryError):
        files.open(f"{root}/other", "wb")
    with pytest.raises(ValueError, match="no transactions"), files.transaction:
        files.open(f"{root}/file", "wb")
    mounted.attach("memory", "fixed", read_only=True)
    with pytest.raises(OSError) as failed:
        files.pipe_file(f"{root}/fixed/file", b"")
    assert failed.value.errno == errno.EROFS


def test_it_goes_to_other_processes_and_outlives_a_daemon(files, tmp_path):
    (tmp_path / "place").mkdir()
    place = tmp_path / "place"
    for text in (b"first", b"second"):
        with vfsd.mount(directory=place):
            copy = pickle.loads(pickle.dumps(files))
            assert isinstance(copy, VfsdFileSystem)
            files.pipe_file(f"{place}/file", text)
            assert copy.cat_file(f"{place}/file") == text


def test_a_forked_process_has_its_own_connection(files, root):
    files.pipe_file(f"{root}/file", b"before")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for _ in range(200):
                assert files.cat_file(f"{root}/file") == b"before"
            code = 0
        finally:
            os._exit(code)
    for _ in range(200):
        assert files.cat_file(f"{root}/file") == b"before"
    assert os.waitpid(child, 0)[1] == 0
    assert files.cat_file(f"{root}/file") == b"before"


def test_a_file_system_that_goes_closes_its_connection(root):
    files = VfsdFileSystem(skip_instance_cache=True)
    files.pipe_file(f"{root}/file", b"data")
    before = len(os.listdir("/proc/self/fd"))
    del files
    assert len(os.listdir("/proc/self/fd")) == before - 1
