"""The map of numbers against a dict, and what it shares."""

import random

import pytest

from providers.memory.numbermap import NumberMap
from providers.memory.ownership import Counters, Owner


def fresh_owner() -> Owner:
    return Owner(Counters())


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_dict_and_so_do_its_copies(seed):
    print("seed", seed)
    chance = random.Random(seed)
    span = chance.choice((50, 5000, 1 << 30, 1 << 47))
    numbers = [chance.randrange(span) for _ in range(120)]
    worlds = [(NumberMap(owner := fresh_owner()), {}, owner)]
    for step in range(4000):
        index = chance.randrange(len(worlds))
        found, expected, owner = worlds[index]
        number = chance.choice(numbers)
        if chance.random() < 0.55:
            found.put(number, str(step), owner)
            expected[number] = str(step)
        elif number in expected:
            found.remove(number, owner)
            del expected[number]
        if chance.random() < 0.01 and len(worlds) < 8:
            worlds[index] = (found, expected, fresh_owner())
            worlds.append((found.share(), dict(expected), fresh_owner()))
    for found, expected, _ in worlds:
        assert dict(found.items()) == expected
        assert list(found.items()) == sorted(expected.items())
        assert found.count == len(expected)
        for number in numbers:
            assert found.get(number) == expected.get(number)
        for first in (0, numbers[0], numbers[1], span):
            wanted = sorted(item for item in expected.items() if item[0] >= first)
            assert found.items_from(first) == wanted


def test_a_number_beyond_all_pages_is_absent():
    found = NumberMap(fresh_owner())
    assert found.get(1 << 60) is None


def test_a_change_copies_one_page_per_level():
    owner = fresh_owner()
    found = NumberMap(owner)
    for number in range(64**3):
        found.put(number, "x", owner)
    assert owner.counters.copied_pages == 0
    twin, later = found.share(), fresh_owner()
    twin.put(100_000, "y", later)
    assert later.counters.copied_pages == 3
    twin.put(100_001, "y", later)
    assert later.counters.copied_pages == 3, "the pages are its own by now"
    assert found.get(100_000) == "x"
    assert twin.get(100_000) == "y"


def count_pages(page, shift) -> int:
    if not shift:
        return 1
    return 1 + sum(count_pages(child, shift - 6) for child in page.pages if child is not None)


def test_numbers_that_are_gone_leave_no_pages():
    owner = fresh_owner()
    found = NumberMap(owner)
    for number in range(20_000):
        found.put(number, "x", owner)
        if number >= 10:
            found.remove(number - 10, owner)
    assert found.count == 10
    assert count_pages(found._root, found._shift) <= 5
