"""The bytes of a file against a bytearray, and what is copied when."""

import random

import pytest

from providers.memory.chunks import CHUNK, PAGE, VIEW_MIN
from providers.memory.content import Content
from providers.memory.ownership import Counters, Owner

ROOM = 1 << 62


def fresh_owner() -> Owner:
    return Owner(Counters())


def charge_anew(content: Content) -> int:
    stored = [len(content._head)]
    if content._chunks is not None:
        stored += [len(chunk.data) for _, chunk in content._chunks.items()]
    return sum(-(-length // PAGE) * PAGE for length in stored)


def whole(content: Content) -> bytes:
    return bytes(content.read(0, content.size + 5))


@pytest.mark.parametrize("seed", range(8))
def test_equals_a_bytearray_and_so_do_its_copies(seed):
    print("seed", seed)
    chance = random.Random(seed)
    span = 4 * CHUNK
    owner = fresh_owner()
    worlds = [(Content(owner), bytearray(), owner)]
    for _ in range(250):
        index = chance.randrange(len(worlds))
        content, expected, owner = worlds[index]
        offset = chance.choice((0, CHUNK, 2 * CHUNK, len(expected), chance.randrange(span)))
        if chance.random() < 0.7:
            size = chance.choice((1, 100, PAGE, CHUNK, CHUNK + 1, chance.randrange(1, 2 * CHUNK)))
            data = chance.randbytes(size)
            assert content.write(offset, data, owner, ROOM) == size
            expected.extend(bytes(max(0, offset - len(expected))))
            expected[offset : offset + size] = data
        else:
            content.truncate(offset, owner)
            del expected[offset:]
            expected.extend(bytes(offset - len(expected)))
        assert content.size == len(expected)
        assert content.charged_bytes == charge_anew(content)
        start, size = chance.randrange(span), chance.choice((1, PAGE, CHUNK, 3 * CHUNK))
        assert content.read(start, size) == expected[start : start + size]
        if chance.random() < 0.05 and len(worlds) < 5:
            later, other = fresh_owner(), fresh_owner()
            worlds[index] = (content.copied(later), expected, later)
            worlds.append((content.copied(other), bytearray(expected), other))
    for content, expected, _ in worlds:
        assert whole(content) == expected


def test_a_byte_at_one_tebibyte_costs_one_chunk():
    owner = fresh_owner()
    content = Content(owner)
    assert content.write(1 << 40, b"x", owner, ROOM) == 1
    assert content.size == (1 << 40) + 1
    assert (content.chunk_count, content.charged_bytes) == (1, PAGE)
    assert content.read((1 << 40) - 2, 10) == b"\0\0x"
    assert content.read(12345, 4) == bytes(4)
    content.truncate(100, owner)
    assert (content.chunk_count, content.charged_bytes) == (0, 0)


def test_whole_chunks_are_kept_and_given_out_without_a_copy():
    owner = fresh_owner()
    content = Content(owner)
    data = bytes(range(256)) * (CHUNK // 256)
    content.write(CHUNK, data, owner, ROOM)
    assert content.read(CHUNK, CHUNK) is data
    part = content.read(CHUNK + 8, VIEW_MIN)
    assert type(part) is memoryview
    assert part.obj is data


def test_a_large_write_is_kept_without_a_copy():
    owner = fresh_owner()
    content = Content(owner)
    data = bytes(range(256)) * (8 * CHUNK // 256)
    content.write(4096, data, owner, ROOM)
    for offset in range(CHUNK, 8 * CHUNK, CHUNK):
        part = content.read(offset, CHUNK)
        assert part.obj is data
        part.release()  # what a reader does with its view does not touch the file
    assert content.read(4096, len(data)) == data


def held_bytes(content: Content) -> int:
    """Return the size of all buffers that the file keeps in memory."""
    stored = [content._head]
    if content._chunks is not None:
        stored += [chunk.data for _, chunk in content._chunks.items()]
    whole = {id(each): each.obj if type(each) is memoryview else each for each in stored}
    return sum(len(each) for each in {id(each): each for each in whole.values()}.values())


@pytest.mark.parametrize("seed", range(8))
def test_no_file_holds_more_than_twice_what_it_is_charged(seed):
    print("seed", seed)
    chance = random.Random(seed)
    owner = fresh_owner()
    content = Content(owner)
    expected = bytearray()
    for step in range(60):
        offset = chance.choice((chance.randrange(12) * CHUNK, chance.randrange(12 * CHUNK)))
        if chance.random() < 0.75:
            length = chance.choice((1, CHUNK, 3 * CHUNK, 8 * CHUNK, 8 * CHUNK + 777))
            data = bytes([step]) * length
            room = chance.choice((ROOM, ROOM, CHUNK))
            done = content.write(offset, data, owner, room)
            if done:
                expected.extend(bytes(max(0, offset - len(expected))))
                expected[offset : offset + done] = data[:done]
        else:
            content.truncate(offset, owner)
            del expected[offset:]
            expected.extend(bytes(offset - len(expected)))
        assert content.charged_bytes == charge_anew(content)
        assert held_bytes(content) <= 2 * content.charged_bytes
        assert whole(content) == expected


def test_overlapping_large_writes_do_not_pile_up():
    """Each write leaves one chunk of the one before: one chunk must not keep a whole write."""
    owner = fresh_owner()
    content = Content(owner)
    for start in range(40):
        content.write(start * CHUNK, bytes(8 * CHUNK), owner, ROOM)
    assert held_bytes(content) <= content.charged_bytes + 8 * CHUNK
    content.truncate(CHUNK, owner)
    assert held_bytes(content) == CHUNK


def test_a_whole_small_file_is_kept_as_it_came():
    owner = fresh_owner()
    content = Content(owner)
    data = b"import this\n"
    content.write(0, data, owner, ROOM)
    assert content.read(0, 4096) is data


def test_what_was_read_does_not_change_when_the_file_does():
    owner = fresh_owner()
    content = Content(owner)
    content.write(0, b"a" * VIEW_MIN, owner, ROOM)
    for _ in range(2):  # once with the data as it came, once with a chunk that grows in place
        before = content.read(0, VIEW_MIN)
        copy = bytes(before)
        content.write(VIEW_MIN // 2, b"other", owner, ROOM)
        content.write(content.size, b"b" * VIEW_MIN, owner, ROOM)
        content.truncate(3, owner)
        assert before == copy
        content.write(3, b"c" * VIEW_MIN, owner, ROOM)


def test_small_appends_grow_one_object():
    """Not quadratic: the chunk that is appended to is never rebuilt."""
    owner = fresh_owner()
    content = Content(owner)
    content.write(0, b"12345678", owner, ROOM)
    content.write(8, b"12345678", owner, ROOM)
    grown = content._head
    for position in range(16, 10_000, 8):
        content.write(position, b"12345678", owner, ROOM)
    assert content._head is grown
    assert content.size == 10_000


def test_a_copy_copies_only_the_chunk_that_is_written():
    owner = fresh_owner()
    content = Content(owner)
    content.write(0, bytes(10 * CHUNK), owner, ROOM)
    later = fresh_owner()
    twin = content.copied(later)
    twin.write(3 * CHUNK + 5, b"x", later, ROOM)
    twin.write(3 * CHUNK + 6, b"y", later, ROOM)
    assert later.counters.copied_chunks == 1
    assert twin.read(4 * CHUNK, CHUNK).obj is content.read(4 * CHUNK, CHUNK).obj
    assert twin.read(3 * CHUNK + 5, 2) == b"xy"
    assert content.read(3 * CHUNK + 5, 2) == bytes(2)


def test_shortening_a_copy_leaves_the_original():
    owner = fresh_owner()
    content = Content(owner)
    content.write(0, b"x" * 100, owner, ROOM)
    content.write(50, b"y" * (3 * CHUNK), owner, ROOM)
    before = whole(content)
    for size in (0, 7, CHUNK, CHUNK + 9, 2 * CHUNK):
        later = fresh_owner()
        twin = content.copied(later)
        twin.truncate(size, later)
        twin.truncate(4 * CHUNK, later)
        assert whole(twin) == before[:size] + bytes(4 * CHUNK - size)
        assert twin.charged_bytes == charge_anew(twin)
    assert whole(content) == before


@pytest.mark.parametrize("room_pages", [0, 1, 5, 31, 32, 33, 40])
def test_writes_as_much_as_there_is_room_for(room_pages):
    owner = fresh_owner()
    content = Content(owner)
    content.write(0, b"x" * 10, owner, ROOM)
    room = room_pages * PAGE
    count = content.write(5, b"y" * (2 * CHUNK), owner, room + PAGE - 1)
    assert count == min(2 * CHUNK, PAGE + room - 5)
    assert whole(content) == b"xxxxx" + b"y" * max(count, 5)
    assert content.charged_bytes == charge_anew(content) == PAGE + room


def test_next_data_passes_over_holes_only():
    """Whatever is written where: between two places that it tells there are only zeros."""
    chance = random.Random(5)
    for _ in range(15):
        owner = fresh_owner()
        content = Content(owner)
        for _ in range(chance.randrange(5)):
            data = b"x" * chance.choice((1, 5000, CHUNK, 3 * CHUNK))
            content.write(
                chance.choice((0, 1, CHUNK, 7 * CHUNK + 3, 50 * CHUNK)), data, owner, ROOM
            )
        if chance.random() < 0.5:
            content.truncate(chance.choice((0, CHUNK - 1, 60 * CHUNK)), owner)
        offset, told = 0, bytearray(content.size)
        while (start := content.next_data(offset)) is not None:
            assert offset <= start < content.size
            offset = min(start + PAGE, content.size)
            told[start:offset] = content.read(start, offset - start)
        assert bytes(told) == bytes(content.read(0, content.size))


def test_next_data_of_a_huge_hole_takes_no_time():
    owner = fresh_owner()
    content = Content(owner)
    content.write(1 << 60, b"x", owner, ROOM)
    assert content.next_data(0) == 1 << 60
    assert content.next_data((1 << 60) + 1) is None
