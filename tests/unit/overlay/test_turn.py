"""Changes of an overlay come one after another, those of one step among them."""

import trio
import trio.testing

from providers.overlay.turn import Turn


async def test_a_change_of_one_step_keeps_others_and_seals_out():
    turn, order = Turn(suspends=True), []

    async def whole():
        async with turn:
            order.append("whole")

    async with trio.open_nursery() as nursery, turn.brief:
        assert turn.committed
        nursery.start_soon(whole)
        await trio.testing.wait_all_tasks_blocked()
        order.append("brief")
    assert order == ["brief", "whole"]
    assert not turn.committed


async def test_who_would_have_to_wait_takes_the_whole_turn():
    turn = Turn(suspends=True)
    assert turn.brief is not turn
    async with turn:
        assert turn.brief is turn
    assert turn.brief is not turn


async def test_a_change_of_one_step_is_cancelled_and_lets_the_next_in():
    turn = Turn(suspends=True)
    with trio.move_on_after(0) as scope:
        async with turn.brief:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with trio.move_on_after(0) as scope:
        async with turn:
            await trio.lowlevel.checkpoint()
        assert not turn.committed
