"""What a journal holds is what was noted, in order, up to where the writing was cut off."""

from __future__ import annotations

import pytest

from vfsd.exitcodes import ExitCode
from vfsd.persist.journal import HEAD, Journal, Reader
from vfsd.snapshots.refusals import Damaged, UnknownVersion

CHANGES = [["unlink", 1, 1, b"a"], ["write", 2, 3, 0, b"\0" * 100, 0, 0], ["at", 3, 4, [b"x"]]]


@pytest.fixture
async def written(tmp_path):
    journal = Journal(str(tmp_path / "7"), 7)
    ends = []
    for change in CHANGES:
        journal.note(change)
        await journal.sync()
        ends.append((tmp_path / "7").stat().st_size)
    journal.close()
    return tmp_path / "7", ends


def changes(path, *, last: bool = True) -> list[list[object]]:
    return list(Reader(str(path), 7, last=last))


async def test_it_is_read_as_it_was_noted(written):
    assert changes(written[0], last=False) == CHANGES


async def test_wherever_it_is_cut_off_what_was_whole_before_is_read(written):
    path, ends = written
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)
        reader = Reader(str(path), 7, last=True)
        assert list(reader) == CHANGES[:whole]
        reader.cut()
        if size < HEAD.size:
            assert not path.exists()
            continue
        assert changes(path, last=False) == CHANGES[:whole]


async def test_zeros_that_a_lost_power_left_are_an_end(written):
    path, _ = written
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\0" * 500)
    assert changes(path) == CHANGES[:2]


async def test_of_an_earlier_journal_nothing_may_be_missing(written):
    path, ends = written
    data = path.read_bytes()
    for size in sorted(set(range(len(data))) - {HEAD.size, *ends}):
        path.write_bytes(data[:size])
        with pytest.raises(Damaged):
            changes(path, last=False)


async def test_every_flipped_bit_but_of_the_last_change_is_told(written):
    path, ends = written
    data = path.read_bytes()
    for at in range(ends[1]):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(Damaged) as caught:
            changes(path)
        assert caught.value.exit_code == ExitCode.DAMAGED
        assert str(path) in caught.value.message


async def test_an_unknown_version_is_told(written):
    path, _ = written
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)
    with pytest.raises(UnknownVersion, match="newer"):
        changes(path)


async def test_nothing_is_made_before_there_is_something_to_write(tmp_path):
    journal = Journal(str(tmp_path / "7"), 7)
    await journal.sync()
    assert not (tmp_path / "7").exists()


async def test_after_an_error_nothing_more_is_written(tmp_path):
    (tmp_path / "7").mkdir()
    journal = Journal(str(tmp_path / "7"), 7)
    journal.note(CHANGES[0])
    with pytest.raises(IsADirectoryError):
        await journal.sync()
    (tmp_path / "7").rmdir()
    journal.note(CHANGES[1])
    with pytest.raises(IsADirectoryError):
        await journal.sync()
    assert not (tmp_path / "7").exists()
