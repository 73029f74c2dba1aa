"""A kept tree after its daemon ended, or was killed at any moment, on a real mount."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from vfsd.exitcodes import ExitCode

pytestmark = pytest.mark.fuse


def fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def listing(root: Path) -> str:
    """Return everything that is to be the same, as tools see it; names of one file by content."""
    told = subprocess.run(
        [
            *("find", ".", "-type", "d", "-printf", r"%p %M %U %G %TY%Tm%Td%TT\n", "-o"),
            *("-printf", r"%p %M %n %U %G %s %TY%Tm%Td%TT %l\n"),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sums = subprocess.run(
        "find . -type f -print0 | sort -z | xargs -0r md5sum",
        cwd=root,
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return "\n".join(sorted(told.splitlines())) + sums


def furnish(root: Path) -> None:
    """Make files of all kinds."""
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "text").write_text("hello")
    (root / "d" / "link").symlink_to("text")
    os.link(root / "d" / "text", root / "name")
    os.mkfifo(root / "fifo", 0o640)
    with open(root / "sparse", "wb") as sparse:
        sparse.seek(1 << 26)
        sparse.write(b"end")
    (root / "big").write_bytes(random.Random(1).randbytes(3_000_000))
    os.setxattr(root / "d", "user.key", b"value")
    os.chmod(root / "d" / "text", 0o4711)
    os.utime(root / "d", ns=(10**18, 10**18 + 123))


@pytest.mark.parametrize("end", ["unmount", "kill"])
def test_everything_is_there_again(kept, end):
    kept.mount()
    furnish(kept.path)
    fsync(kept.path)
    before = listing(kept.path)
    kept.unmount() if end == "unmount" else kept.kill()
    kept.mount()
    assert listing(kept.path) == before
    assert os.getxattr(kept.path / "d", "user.key") == b"value"
    assert (kept.path / "sparse").stat().st_blocks < 100
    assert (kept.path / "d" / "text").stat().st_ino == (kept.path / "name").stat().st_ino
    # And once more, from what is loaded, changed, and stored over that.
    (kept.path / "d" / "text").write_text("changed")
    (kept.path / "big").unlink()
    before = listing(kept.path)
    kept.unmount()
    kept.mount()
    assert listing(kept.path) == before
    kept.unmount()


def test_what_was_synced_is_there_whenever_the_daemon_is_killed(kept):
    """Files are replaced as editors do it; after each kill every name has what was synced last."""
    kept.configure(root='persist-every = "1s"')
    chance = random.Random(20)
    synced: dict[str, bytes] = {}
    for _ in range(4):
        kept.mount()
        written: dict[str, bytes] = {}
        for name, data in synced.items():
            assert (kept.path / name).read_bytes() == data
        enough, count = threading.Event(), chance.randrange(1, 120)

        def write(written=written, enough=enough, count=count) -> None:
            numbers = iter(range(10**6))
            try:
                while True:
                    name = f"{chance.randrange(20)}"
                    data = chance.randbytes(chance.choice([10, 5000, 300_000]))
                    written.clear()
                    written[name] = data
                    with open(kept.path / "new", "wb") as new:
                        new.write(data)
                        new.flush()
                        os.fsync(new.fileno())
                    os.rename(kept.path / "new", kept.path / name)
                    fsync(kept.path)
                    synced[name] = data
                    if next(numbers) == count:
                        enough.set()
            except OSError:
                enough.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert enough.wait(60)
        kept.kill()
        writer.join(60)
        kept.mount()
        for name, data in {**synced, **written}.items():
            if written.get(name) is not None:
                found = (kept.path / name).read_bytes() if (kept.path / name).exists() else None
                assert found in (data, synced.get(name))
                if found is not None:
                    synced[name] = found
            else:
                assert (kept.path / name).read_bytes() == data
        kept.unmount()
    assert len(synced) > 5


def test_it_is_stored_while_it_is_used_and_not_when_nothing_changed(kept):
    kept.configure(root='persist-every = "1s"')
    kept.mount()
    (kept.path / "a").write_text("1")
    kept.wait_for_log("stored the kept tree 'work'")
    kept.kill()
    assert not list(kept.journals.glob("*/*.journal"))
    kept.mount()
    assert (kept.path / "a").read_text() == "1"
    before = len(kept.place.log())
    kept.unmount()
    assert "stored the kept tree" not in kept.place.log()[before:]


def test_two_daemons_do_not_have_one_name(kept):
    kept.mount()
    other = kept.place.root / "other"
    other.mkdir()
    said = kept.place.refused(ExitCode.REFUSED, "mount", other, "--config", kept.file)
    assert "'work' is in use by another daemon" in said
    kept.unmount()


def test_a_snapshot_of_that_name_is_not_written_over(kept):
    kept.place.vfsd("mount", kept.path)
    (kept.path / "a").touch()
    kept.place.vfsd("snapshot", "create", "work", kept.path)
    kept.unmount()
    said = kept.place.refused(ExitCode.REFUSED, "mount", kept.path, "--config", kept.file)
    assert "'work' that is not of a kept tree" in said


def stored(kept) -> None:
    """Have something stored, and something more in the journal only."""
    kept.mount()
    (kept.path / "a").write_text("stored")
    kept.unmount()
    kept.mount()
    (kept.path / "b").write_text("journaled")
    fsync(kept.path)
    kept.kill()


def all_bytes(kept) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for folder in (kept.journals, kept.store / "layers", kept.store / "snapshots")
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("what", ["journal", "snapshot", "pack", "gone", "journal gone"])
def test_nothing_is_begun_over_what_is_damaged(kept, what):
    stored(kept)
    (journal,) = kept.journals.glob("*/*.journal")
    pack = max(kept.store.glob("layers/*/pack"), key=lambda path: path.stat().st_size)
    record = kept.store / "snapshots" / "work"
    path = {"journal": journal, "pack": pack}.get(what, record)
    if what == "gone":
        record.unlink()
    elif what == "journal gone":
        journal.rename(journal.with_name(f"{int(journal.stem) + 1:012}.journal"))
    else:
        data = bytearray(path.read_bytes())
        data[40] ^= 1
        path.write_bytes(data)
    before = all_bytes(kept)
    said = kept.place.refused(ExitCode.DAMAGED, "mount", kept.path, "--config", kept.file)
    assert "work" in said or str(kept.store) in said
    assert all_bytes(kept) == before
    assert not os.path.ismount(kept.path)


@pytest.mark.root
def test_a_full_disk_is_told_by_fsync_and_loses_nothing(kept):
    state = kept.place.root / "state"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", state], check=True)
    try:
        kept.configure(root='persist-every = "1s"')
        kept.mount()
        (kept.path / "small").write_text("kept")
        fsync(kept.path)
        (kept.path / "big").write_bytes(random.Random(2).randbytes(4 << 20))
        with pytest.raises(OSError, match="No space left"):
            fsync(kept.path)
        kept.wait_for_log("was not stored")
        with pytest.raises(OSError, match="No space left"):
            fsync(kept.path)
        assert len((kept.path / "big").read_bytes()) == 4 << 20
        # With room again it is stored, and fsync is true again.
        subprocess.run(["mount", "-o", "remount,size=64M", state], check=True)
        kept.wait_for_log("stored the kept tree")
        (kept.path / "last").write_text("x")
        fsync(kept.path)
        before = listing(kept.path)
        kept.kill()
        kept.mount()
        assert listing(kept.path) == before
        kept.unmount()
    finally:
        subprocess.run(["fusermount3", "-u", "-z", kept.path], check=False, capture_output=True)
        subprocess.run(["umount", "-l", state], check=True)


OVERLAY = """
[[attach]]
prefix = "app"
source = "overlay"
options = {{ lower = "{lower}" }}
persist = "app"
"""


@pytest.mark.parametrize("end", ["unmount", "kill"])
def test_an_overlay_keeps_what_was_written_over_its_lower(kept, end):
    lower = kept.place.root / "lower"
    (lower / "sub").mkdir(parents=True)
    for name in ("edited", "gone", "sub/same", "sub/moved"):
        (lower / name).write_text(name)
    kept.configure(OVERLAY.format(lower=lower))
    kept.mount()
    app = kept.path / "app"
    for turn in range(2):
        (app / "edited").write_text(f"now {turn}")
        (app / f"new{turn}").mkdir()
        if turn == 0:
            (app / "gone").unlink()
            (app / "sub").rename(app / "renamed")
        fsync(app)
        before = listing(app)
        kept.unmount() if end == "unmount" else kept.kill()
        kept.mount()
        assert listing(app) == before
    # What is edited below still shows where nothing stands over it.
    (lower / "later").write_text("below")
    assert (app / "later").read_text() == "below"
    assert sorted(each.name for each in lower.iterdir()) == ["edited", "gone", "later", "sub"]
    kept.unmount()
    kept.configure(OVERLAY.format(lower=kept.place.root / "run"))
    said = kept.place.refused(ExitCode.REFUSED, "mount", kept.path, "--config", kept.file)
    assert f"stands on {lower}" in said


@pytest.mark.parametrize("source", ["passthrough:.", "overlay"])
def test_what_cannot_be_kept_is_refused(kept, source):
    kept.configure(
        f'[[attach]]\nprefix = "x"\nsource = "{source}"\npersist = "x"\n'
        'options = { upper = "./run", lower = "./state" }\n'
    )
    assert "persist keeps" in kept.place.refused(
        ExitCode.USAGE, "mount", kept.path, "--config", kept.file
    )


def test_quotas_hold_after_a_restart(kept):
    kept.configure(root='size = "1M"\ninodes = 10')
    kept.mount()
    (kept.path / "a").write_bytes(b"x" * 700_000)
    kept.unmount()
    kept.mount()
    with pytest.raises(OSError, match="No space left"):
        (kept.path / "b").write_bytes(b"x" * 700_000)
    kept.unmount()
    kept.configure(root='size = "64K"')
    said = kept.place.refused(ExitCode.FULL, "mount", kept.path, "--config", kept.file)
    assert "does not fit into its quota" in said


def test_a_file_without_a_name_leaves_nothing(kept):
    kept.mount()
    with open(kept.path / "temporary", "w+b") as file:
        file.write(b"x" * 10_000)
        file.flush()
        (kept.path / "temporary").unlink()
        file.write(b"y" * 10_000)
        file.flush()
        os.fsync(file.fileno())
        assert stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        kept.kill()
    kept.mount()
    assert list(kept.path.iterdir()) == []
    kept.unmount()


def test_unmount_returns_once_everything_is_stored(kept):
    kept.mount()
    for number in range(1000):
        (kept.path / f"{number}").write_bytes(b"x" * number)
    kept.unmount()
    kept.mount()  # nobody has the name any more
    assert sum(1 for _ in kept.path.iterdir()) == 1000
    kept.unmount()
