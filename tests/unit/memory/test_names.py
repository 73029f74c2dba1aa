"""The names of a directory against a dict, and what they share."""

import random

import pytest

from providers.memory import names
from providers.memory.ownership import Counters, Owner


def fresh_owner() -> Owner:
    return Owner(Counters())


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_dict_and_so_do_its_copies(seed):
    print("seed", seed)
    chance = random.Random(seed)
    pool = [b"%x" % chance.randrange(1 << 32) for _ in range(chance.choice((20, 3000)))]
    owner = fresh_owner()
    worlds = [(names.Leaf(owner), {}, owner)]
    for step in range(12_000):
        index = chance.randrange(len(worlds))
        found, expected, owner = worlds[index]
        name = chance.choice(pool)
        if name not in expected or chance.random() < 0.3:
            found = names.put(found, name, step, owner)
            expected[name] = step
        else:
            found = names.remove(found, name, owner)
            del expected[name]
        worlds[index] = (found, expected, owner)
        if chance.random() < 0.003 and len(worlds) < 6:
            worlds[index] = (found, expected, fresh_owner())
            worlds.append((found, dict(expected), fresh_owner()))
    for found, expected, _ in worlds:
        assert dict(names.items(found)) == expected
        listed = names.listing(found)
        assert sorted(listed) == sorted(expected)
        assert listed == names.listing(found)
        for name in pool:
            assert names.get(found, name) == expected.get(name)


def test_a_small_directory_lists_names_in_the_order_they_came():
    owner = fresh_owner()
    found = names.Leaf(owner)
    wanted = [b"z", b"a", b"m"]
    for name in wanted:
        found = names.put(found, name, 1, owner)
    assert names.listing(found) == wanted


def test_the_first_change_after_a_snapshot_copies_few_names_of_many():
    owner = fresh_owner()
    found = names.Leaf(owner)
    for number in range(50_000):
        found = names.put(found, b"name-%d" % number, number, owner)
    later = fresh_owner()
    changed = names.put(found, b"one more", 0, later)
    assert later.counters.copied_names <= names.SPLIT
    assert later.counters.copied_pages <= 6
    assert names.get(found, b"one more") is None
    assert names.get(changed, b"one more") == 0
    assert names.get(changed, b"name-77") == 77


def test_an_emptied_directory_keeps_no_branches():
    owner = fresh_owner()
    found = names.Leaf(owner)
    pool = [b"%d" % number for number in range(5000)]
    for name in pool:
        found = names.put(found, name, 1, owner)
    assert type(found) is names.Branch
    for name in pool:
        found = names.remove(found, name, owner)
    assert type(found) is names.Leaf
    assert names.listing(found) == []


def test_names_whose_hashes_meet_stay_in_one_leaf(monkeypatch):
    """No depth of branches can part names with one hash; they must still be kept."""

    class Same(bytes):
        def __hash__(self):
            return 7

    owner = fresh_owner()
    found = names.Leaf(owner)
    pool = [Same(b"%d" % number) for number in range(names.SPLIT * 2)]
    for number, name in enumerate(pool):
        found = names.put(found, name, number, owner)
    assert [names.get(found, name) for name in pool] == list(range(len(pool)))
    for name in pool:
        found = names.remove(found, name, owner)
    assert names.listing(found) == []
