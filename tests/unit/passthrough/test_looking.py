"""The C library sees what the calls one by one see, and says when it cannot."""

import _ctypes
import errno
import os
import re
from pathlib import Path

import pytest

from providers.passthrough import looking
from providers.passthrough.look import look_many, names_in
from providers.passthrough.looking import OPENED, RECORD, RECORDS, Looking
from tests.unit.passthrough.serving import ODD, served


@pytest.mark.parametrize("links", [False, True])
def test_both_ways_see_the_same(library, scenery, links):
    names = [*names_in(scenery), b"missing", b"file"]
    assert {*ODD, b"socket", b"leading out"} <= set(names)
    assert look_many(scenery, names, links, {}, library) == look_many(scenery, names, links, {})


def test_both_ways_list_the_same(library, scenery):
    assert sorted(names_in(scenery, library)) == sorted(names_in(scenery))


@pytest.mark.parametrize("count", [0, 1, RECORDS - 1, RECORDS, RECORDS + 1, 3 * RECORDS])
def test_any_count_of_names(tmp_path, library, count):
    for number in range(count):
        (tmp_path / f"{number}").write_bytes(b"x" * number)
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert len(names_in(fd, library)) == count
        found = look_many(fd, [b"%d" % n for n in range(count)], False, {}, library)
        assert [each.stat.size for each in found] == list(range(count))
    finally:
        os.close(fd)


def test_more_names_than_fit_are_listed_all_the_same(tmp_path, library):
    names = {b"%0250d" % number for number in range(looking.NAMES_BYTES // 250)}
    for name in names:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), name), os.O_CREAT | os.O_WRONLY))
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert library.names_in(fd) is None
        assert set(names_in(fd, library)) == names
    finally:
        os.close(fd)


def test_a_removed_directory_lists_nothing(tmp_path, library):
    (tmp_path / "d").mkdir()
    fd = os.open(tmp_path / "d", os.O_PATH)
    (tmp_path / "d").rmdir()
    try:
        assert names_in(fd, library) == names_in(fd) == []
        assert look_many(fd, [b"f"], False, {}, library) == [None]
    finally:
        os.close(fd)


def test_errors_are_those_of_the_calls(tmp_path, library):
    (tmp_path / "f").touch()
    fd = os.open(tmp_path / "f", os.O_PATH)
    try:
        with pytest.raises(NotADirectoryError):
            library.look_many(fd, [b"a"])
        with pytest.raises(NotADirectoryError):
            library.names_in(fd)
    finally:
        os.close(fd)
    with pytest.raises(OSError) as caught:
        library.look_many(fd, [b"a"])
    assert caught.value.errno == errno.EBADF


def test_marks_that_do_not_fit_are_asked_for_by_themselves(scenery, library, monkeypatch):
    names = names_in(scenery)
    whole = look_many(scenery, names, False, {})
    if not whole[0].mark:
        pytest.skip("this file system has no handles")
    # As if these were the ones that the library leaves out.
    monkeypatch.setattr(looking, "MARK_ELSEWHERE", len(whole[0].mark))
    assert look_many(scenery, names, False, {}, library) == whole


LAYOUTS = {
    "record": ("record.h", "field`:", RECORD),
    "wanted": ("putting.c", "is put (putting.c):", looking.WANTED),
    "xattr": ("putting.c", "extended attribute:", looking.XATTR),
}


@pytest.mark.parametrize("structure", LAYOUTS)
def test_the_layout_is_that_of_the_c_structure(structure):
    file, heading, packing = LAYOUTS[structure]
    source = Path(looking.__file__).with_name(file).read_text()
    said = re.findall(r"(\d+) (\d+) (\w+)", re.split("[.;]", doc_from(heading))[0])
    body = re.search(rf"struct {structure} \{{(.*?)\}};", source, re.DOTALL)[1]
    fields = re.sub(r"\b(u?int\d+_t|unsigned char)\b|\[\w+\]", "", body)
    assert [name for _, _, name in said] == re.findall(r"\w+", fields)
    place = 0
    for offset, size, _ in said:
        assert int(offset) == place
        place += int(size)
    assert place == packing.size
    if structure == "record":
        assert place == OPENED.size == 160
        assert f"#define MARK_BYTES {said[-1][1]}\n" in source


def doc_from(heading):
    return looking.__doc__.partition(heading)[2]


def test_what_is_no_library_is_left_alone(tmp_path, monkeypatch, caplog):
    broken = tmp_path / "_looking.so"
    broken.write_bytes(b"no ELF")
    monkeypatch.setattr(looking, "LIBRARY", broken)
    assert looking._load() is None
    assert "_looking.so" in caplog.text
    # One that was made from earlier sources lacks some of the calls.
    monkeypatch.setattr(looking, "LIBRARY", Path(_ctypes.__file__))
    assert looking._load() is None
    assert "vfsd_" in caplog.text
    monkeypatch.setattr(looking, "LIBRARY", tmp_path / "missing")
    assert looking._load() is None


@pytest.mark.parametrize(("native", "looks"), [("auto", "by the directory"), ("off", "one by one")])
async def test_it_can_be_turned_off(tmp_path, library, native, looks):
    assert isinstance(library, Looking)
    (tmp_path / "f").write_bytes(b"data")
    async with served(tmp_path, native=native) as files:
        assert files.provider.statistics()["looks"] == looks
        names = await files.provider.readdir(files.provider.root)
        (entry,) = await files.provider.lookup_many(files.provider.root, names)
        assert (names, entry.stat.size) == ([b"f"], 4)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
@pytest.mark.parametrize("native", ["auto", "off"])
async def test_no_name_leads_anywhere_else(tmp_path, native, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    async with served(tmp_path, native=native) as files:
        with pytest.raises(OSError) as caught:
            await files.provider.lookup_many(files.provider.root, [b"a", name])
    assert caught.value.errno == errno.EINVAL
