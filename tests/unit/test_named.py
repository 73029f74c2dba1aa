"""`vfsd.named.NamedTuple` beside typing's, which is the oracle: the same class body, both ways."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

import vfsd.named


class Ours(vfsd.named.NamedTuple):
    """A value."""

    first: int
    second: str = "two"
    third: tuple[int, ...] = ()

    @property
    def both(self) -> str:
        return f"{self.first} {self.second}"


class Theirs(typing.NamedTuple):
    """A value."""

    first: int
    second: str = "two"
    third: tuple[int, ...] = ()

    @property
    def both(self) -> str:
        return f"{self.first} {self.second}"


def outcome(what):
    try:
        return what()
    except (TypeError, AttributeError) as error:
        return type(error)


GIVEN = [
    ((1,), {}),
    ((1, "x"), {}),
    ((1, "x", (3,)), {}),
    ((), {"first": 1}),
    ((), {"third": (3,), "first": 1}),
    ((1,), {"third": (3,)}),
    ((), {}),
    ((), {"second": "x"}),
    ((1, "x", (3,), 4), {}),
    ((1,), {"first": 1}),
    ((1,), {"fourth": 4}),
    ((1, "x", (3,)), {"third": (3,)}),
    ((1, "x", (3,), 4), {"first": 1}),
]


@pytest.mark.parametrize(("values", "named"), GIVEN)
def test_made_of_the_same_it_is_the_same(values, named):
    ours, theirs = (
        outcome(lambda: Ours(*values, **named)),
        outcome(lambda: Theirs(*values, **named)),
    )
    assert ours == theirs
    if theirs is not TypeError:
        assert isinstance(ours, tuple)
        assert (ours.first, ours.second, ours.third) == tuple(theirs)
        assert hash(ours) == hash(theirs)
        assert ours.both == theirs.both
        assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
        assert ours._asdict() == theirs._asdict()


@pytest.mark.parametrize("named", [{}, {"second": "y"}, {"first": 2, "third": ()}, {"fourth": 4}])
def test_a_changed_copy(named):
    def replaced(value):
        try:
            return tuple(value._replace(**named))
        except (TypeError, ValueError):
            return "refused"

    assert replaced(Ours(1)) == replaced(Theirs(1))
    assert type(Ours(1)._replace(first=2)) is Ours


def test_it_cannot_be_changed_and_takes_no_room_of_its_own():
    value = Ours(1)
    with pytest.raises(AttributeError):
        value.first = 2
    with pytest.raises(AttributeError):
        value.fourth = 4
    assert not hasattr(value, "__dict__")


def test_it_is_copied_pickled_and_matched():
    value = Ours(1, "x", (3,))
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert other == value
        assert type(other) is Ours
    match value:
        case Ours(first, second="x"):
            assert first == 1
        case _:
            raise AssertionError(value)
    assert Ours._fields == Theirs._fields
    assert Ours.__doc__ == Theirs.__doc__
