"""`vfsd.blocks` beside contextlib, which is the oracle: the same block, both ways."""

from __future__ import annotations

import contextlib
from itertools import product

import pytest

from vfsd import blocks


class Step:
    """Notes how it is left, and then lets the error pass, ends it, or raises one of its own."""

    def __init__(self, name: str, does: str, notes: list) -> None:
        self._name, self._does, self._notes = name, does, notes

    def __enter__(self):
        self._notes.append(f"enter {self._name}")
        if self._does == "refuse":
            raise PermissionError(self._name)
        return self._name

    def __exit__(self, kind, error, traceback):
        self._notes.append((f"leave {self._name}", kind, str(error), traceback is None))
        if self._does == "raise":
            raise ValueError(self._name)
        return self._does == "swallow"


def told(module, steps, body) -> list:
    """Return all that can be seen of a block with these steps."""
    notes: list = []
    try:
        with module.ExitStack() as stack:
            for name, does in zip("abc", steps, strict=True):
                notes.append(stack.enter_context(Step(name, does, notes)))
                stack.callback(notes.append, f"after {name}")
            if body is not None:
                raise body("body")
        notes.append("went on")
    except Exception as error:
        while error is not None:
            notes.append((type(error), str(error)))
            error = error.__context__
    return notes


STEPS = ("pass", "swallow", "raise", "refuse")


@pytest.mark.parametrize("body", [None, KeyError, OSError])
@pytest.mark.parametrize("steps", list(product(STEPS, repeat=3)), ids=" ".join)
def test_a_stack_is_left_in_the_same_way(steps, body):
    assert told(blocks, steps, body) == told(contextlib, steps, body)


def test_a_stack_is_closed_once_and_can_be_used_again():
    notes: list[int] = []
    stack = blocks.ExitStack()
    for number in range(3):
        stack.callback(notes.append, number)
    stack.close()
    stack.close()
    assert notes == [2, 1, 0]
    stack.callback(notes.append, 3)
    stack.close()
    assert notes == [2, 1, 0, 3]


def test_an_interrupt_leaves_all_of_a_stack():
    notes: list[str] = []

    def interrupted() -> None:
        with blocks.ExitStack() as stack:
            stack.callback(notes.append, "last")
            stack.enter_context(Step("a", "swallow", []))
            stack.enter_context(Step("b", "raise", []))
            stack.callback(notes.append, "first")
            raise KeyboardInterrupt

    interrupted()
    assert notes == ["first", "last"]


@pytest.mark.parametrize("raised", [None, OSError(), FileNotFoundError(), KeyError(), SystemExit()])
@pytest.mark.parametrize("kinds", [(), (OSError,), (KeyError, FileNotFoundError)])
def test_what_is_suppressed(raised, kinds):
    def ends(module) -> bool:
        try:
            with module.suppress(*kinds):
                if raised is not None:
                    raise raised
        except BaseException as error:
            return error is raised
        return False

    assert ends(blocks) == ends(contextlib)


def test_what_is_closed_is_closed_whatever_happens():
    class Thing:
        closed = 0

        def close(self):
            self.closed += 1

    thing = Thing()
    with blocks.closing(thing) as given:
        assert given is thing
    with pytest.raises(KeyError), blocks.closing(thing):
        raise KeyError
    assert thing.closed == 2
