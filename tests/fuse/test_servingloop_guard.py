"""When the serving loop must not serve: each thing it relies on, missing, means the stock loop."""

from __future__ import annotations

import logging
import os
import queue
import select
from types import ModuleType, SimpleNamespace

import pytest
import trio
import trio.testing
from trio._core import _run
from trio._core._io_epoll import EpollIOManager

from tests.fuse.loopserver import serving
from tests.fuse.test_servingloop import churned
from vfsd.fuse import servingloop, triointernals
from vfsd.fuse.triointernals import Runnable, Unfit, bind


def fake_pyfuse3(**changes: object) -> ModuleType:
    """Make a module that has what `install` looks for, but for `changes`."""
    module = ModuleType("pyfuse3")
    module.__dict__.update(dict.fromkeys(servingloop.PYFUSE3_PARTS))
    module.__dict__.update({"__version__": "3.5.0", "trio": trio, **changes})
    return module


def test_install_and_uninstall_leave_the_module_as_it_was():
    module = fake_pyfuse3()
    installed = servingloop.install(module)
    assert installed is not None
    assert module.trio is not trio
    assert module.trio.ClosedResourceError is trio.ClosedResourceError
    assert module.trio.lowlevel.current_task is trio.lowlevel.current_task
    installed.uninstall()
    installed.uninstall()
    assert module.trio is trio


def test_a_second_install_is_refused(caplog):
    module = fake_pyfuse3()
    first = servingloop.install(module)
    stand_in = module.trio
    assert servingloop.install(module) is None
    assert module.trio is stand_in
    assert "installed already" in caplog.text
    first.uninstall()
    caplog.clear()


@pytest.mark.parametrize(
    "changes", [{"__version__": "3.6.0"}, {"__version__": None}, {"trio": os}], ids=str
)
def test_another_pyfuse3_is_left_alone(caplog, changes):
    module = fake_pyfuse3(**changes)
    before = dict(module.__dict__)
    assert servingloop.install(module) is None
    assert module.__dict__ == before
    assert "slower loop: pyfuse3" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("part", servingloop.PYFUSE3_PARTS)
def test_a_pyfuse3_without_a_part_is_left_alone(caplog, part):
    module = fake_pyfuse3()
    del module.__dict__[part]
    assert servingloop.install(module) is None
    assert f"pyfuse3 has no {part}" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("options", [{"poll_us": -1}, {"budget": 0}], ids=str)
def test_senseless_settings_are_refused(options):
    with pytest.raises(ValueError, match="at least"):
        servingloop.install(fake_pyfuse3(), **options)


def test_another_trio_or_platform_is_unfit(monkeypatch):
    monkeypatch.setattr(trio, "__version__", "0.36.0")
    with pytest.raises(Unfit, match=r"0\.36"):
        triointernals.check_release()
    monkeypatch.undo()
    monkeypatch.delattr(select, "epoll")
    with pytest.raises(Unfit, match="Linux"):
        triointernals.check_release()


def test_no_run_is_unfit():
    with pytest.raises(Unfit, match="no trio loop"):
        bind()


async def test_this_run_fits():
    run_loop = bind()
    with trio.CancelScope(deadline=trio.current_time() + 1000):
        await trio.lowlevel.checkpoint()
        assert 900 < run_loop.sleep_time(run_loop.next_deadline()) <= 1000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        assert len(run_loop.runq) == 1
    assert len(run_loop.idle_waiters) == 0


class Without:
    """Another object's double, with one attribute missing (None) or replaced."""

    def __init__(self, real: object, name: str, value: object) -> None:
        self._real, self._name, self._value = real, name, value

    def __getattr__(self, name: str) -> object:
        if name != self._name:
            return getattr(self._real, name)
        if self._value is None:
            raise AttributeError(name)
        return self._value


@pytest.mark.parametrize("value", [None, 17], ids=["missing", "strange"])
@pytest.mark.parametrize(
    "name",
    ["runq", "is_guest", "clock", "io_manager", "deadlines", "waiting_for_idle"],
)
async def test_a_run_without_a_part_is_unfit(monkeypatch, name, value):
    runner = Without(_run.GLOBAL_RUN_CONTEXT.runner, name, value)
    with monkeypatch.context() as patch:
        patch.setattr(_run, "GLOBAL_RUN_CONTEXT", SimpleNamespace(runner=runner))
        with pytest.raises(Unfit, match="trio"):
            bind()


@pytest.mark.parametrize("value", [None, 17], ids=["missing", "strange"])
async def test_a_run_with_other_deadlines_or_epoll_is_unfit(monkeypatch, value):
    runner = _run.GLOBAL_RUN_CONTEXT.runner
    io_manager = object.__new__(EpollIOManager)
    if value is not None:
        io_manager._epoll = value
    doubles = [
        Without(runner, "deadlines", Without(runner.deadlines, "next_deadline", value)),
        Without(runner, "io_manager", io_manager),
    ]
    for double in doubles:
        with monkeypatch.context() as patch:
            patch.setattr(_run, "GLOBAL_RUN_CONTEXT", SimpleNamespace(runner=double))
            with pytest.raises(Unfit, match="trio"):
                bind()


def test_a_clock_that_jumps_is_unfit():
    async def check() -> None:
        with pytest.raises(Unfit, match="MockClock"):
            bind()

    trio.run(check, clock=trio.testing.MockClock())


def test_a_guest_run_is_unfit():
    todo: queue.SimpleQueue = queue.SimpleQueue()
    done = []

    async def check() -> str:
        with pytest.raises(Unfit, match="guest"):
            bind()
        return "checked"

    trio.lowlevel.start_guest_run(
        check, run_sync_soon_threadsafe=todo.put, done_callback=done.append
    )
    while not done:
        todo.get()()
    assert done[0].unwrap() == "checked"


async def test_runnable_counts_the_rest_of_the_batch():
    runnable = Runnable(bind().runq)
    trio.lowlevel.add_instrument(runnable)
    assert runnable.count == 1
    counts = []

    async def look() -> None:
        counts.append(runnable.count)

    try:
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(look)
            assert runnable.count == 3
    finally:
        trio.lowlevel.remove_instrument(runnable)
    # Whichever order the batch ran in; the last one wakes the parent after it looked.
    assert counts == [2, 1, 0]


@pytest.mark.fuse
@pytest.mark.parametrize(
    ("loop", "reason"), [("unfit", "trio is 0.0.1"), ("guarded", "NotTheSystemClock")]
)
def test_an_unfit_trio_is_served_by_the_stock_loop(tmp_path, loop, reason):
    with serving(tmp_path, loop, suspend=4) as server:
        churned(server, range(2), count=10)
        end = server.finish()
    assert end["outcome"] == "returned"
    assert end["restored"]
    assert reason in end["errors"]
    assert end["loop"] in ("stock", {"vanished": 0})


def test_warnings_name_this_module(caplog):
    with caplog.at_level(logging.WARNING):
        servingloop.install(fake_pyfuse3(__version__="9"))
    assert [record.name for record in caplog.records] == ["vfsd.fuse.servingloop"]
    caplog.clear()
