"""Virtual fds: their range, their uniqueness while open, their bound."""

import errno

import pytest

from vfsd.contract import Node
from vfsd.handles import FIRST_FH, LAST_FH, HandleTable
from vfsd.tree import Attachment, Tree

from .counting import CountingProvider


def an_attachment() -> Attachment:
    return Tree(CountingProvider()).root


async def test_virtual_fds_have_bit_30_and_no_sign_bit():
    table, place = HandleTable(), an_attachment()
    for _ in range(100):
        fh = table.add(place, Node(2)).fh
        assert FIRST_FH <= fh <= LAST_FH
        assert fh & 0x4000_0000
        assert not fh & 0x8000_0000


async def test_an_open_number_is_not_given_again_when_the_range_wraps():
    table, place = HandleTable(), an_attachment()
    kept = table.add(place, Node(2)).fh
    table._next = LAST_FH
    last = table.add(place, Node(2)).fh
    after = table.add(place, Node(2)).fh
    assert last == LAST_FH
    assert after not in (kept, last)
    assert FIRST_FH <= after <= LAST_FH


async def test_closed_numbers_are_unknown():
    table, place = HandleTable(), an_attachment()
    fh = table.add(place, Node(2)).fh
    assert place.open_count == 1
    table.remove(fh)
    assert place.open_count == 0
    for use in (table.get, table.remove):
        with pytest.raises(OSError) as caught:
            use(fh)
        assert caught.value.errno == errno.EBADF


async def test_the_table_is_bounded():
    table, place = HandleTable(limit=3), an_attachment()
    for _ in range(3):
        table.add(place, Node(2))
    with pytest.raises(OSError) as caught:
        table.add(place, Node(2))
    assert caught.value.errno == errno.ENFILE
    assert table.statistics() == {"open_handles": 3, "limit_handles": 3}
