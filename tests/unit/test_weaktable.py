"""A table that keeps nothing alive: entries go with their objects, and only with theirs."""

import threading
import weakref

from vfsd.weaktable import WeakTable


class Thing:
    __slots__ = ("__weakref__", "held")


def test_an_entry_lasts_as_long_as_its_object():
    table = WeakTable()
    one, other = Thing(), Thing()
    table["one"], table["other"] = one, other
    assert (table.get("one"), table.get("other"), table.get("none")) == (one, other, None)
    assert "one" in table
    assert len(table) == 2
    del one
    assert table.get("one") is None
    assert "one" not in table
    assert len(table) == 1


def test_a_later_object_keeps_the_place():
    table = WeakTable()
    first, second = Thing(), Thing()
    table[1] = first
    table[1] = second
    del first
    assert table.get(1) is second
    assert len(table) == 1


def test_what_is_taken_out_is_gone():
    table = WeakTable()
    thing = Thing()
    table[1] = thing
    assert table.pop(1) is thing
    assert table.pop(1) is None
    assert len(table) == 0
    del thing


def test_one_object_at_several_places():
    table = WeakTable()
    thing = Thing()
    for key in range(3):
        table[key] = thing
    table.pop(1)
    del thing
    assert len(table) == 0


def test_the_table_itself_is_freed_at_once():
    table = WeakTable()
    thing = Thing()
    table[1] = thing
    gone = weakref.ref(table)
    del table
    assert gone() is None  # without the garbage collector
    del thing


def test_objects_may_die_in_other_threads():
    table = WeakTable()
    keys = range(200)
    stop = threading.Event()
    handed = [Thing() for _ in keys]
    for key in keys:
        table[key] = handed[key]

    def drop():
        while not stop.is_set():
            for key in keys:
                handed[key] = None

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        for round_ in range(200):
            key = round_ % len(keys)
            for _ in range(20):
                mine = Thing()
                handed[key] = table[key] = Thing()
                table[key] = mine
                assert table.get(key) is mine
    finally:
        stop.set()
        thread.join()
