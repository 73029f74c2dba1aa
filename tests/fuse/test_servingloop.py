"""The serving loop under load: right answers, everyone served, no request lost, no CPU idle.

Each test that can be put to pyfuse3's own loop is, with the same expectations. How it ends is
in test_servingloop_ends.py, when it must not serve at all in test_servingloop_guard.py.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fuse.loopserver import HANG_S, Server, serving

pytestmark = pytest.mark.fuse

CLIENT = Path(__file__).with_name("loopclient.py")
LOOPS = [
    pytest.param({"loop": "stock"}, id="stock"),
    pytest.param({"loop": "ours"}, id="ours"),
    pytest.param({"loop": "ours", "poll_us": 0}, id="ours-no-poll"),
    pytest.param({"loop": "ours", "budget": 1}, id="ours-budget-1"),
    pytest.param({"loop": "ours", "min_tasks": 4}, id="ours-4-idle"),
    pytest.param({"loop": "ours", "max_tasks": 1}, id="ours-1-worker"),
]
OURS = LOOPS[1:]


def client(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-S", "-E", str(CLIENT), *map(str, arguments)])


@contextmanager
def pestered(server: Server, clients: int = 2) -> Iterator[None]:
    """Keep the mount busy with clients that ask as fast as they can."""
    processes = [client("pester", server.mountpoint) for _ in range(clients)]
    try:
        start = server.ask()["requests"]
        while server.ask()["requests"] < start + 1000:
            pass
        yield
        assert all(process.poll() is None for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        if server.loop == "stock":
            # A request that vanished with its caller leaves pyfuse3's own loop in a blocking
            # read until the next request. Ours has to do without such help.
            os.path.exists(server.mountpoint / "absent")


def churned(server: Server, seeds: range, count: int = 40) -> None:
    processes = [client("churn", server.mountpoint, seed, count) for seed in seeds]
    assert [process.wait(HANG_S) for process in processes] == [0 for _ in seeds]


@pytest.mark.parametrize("settings", LOOPS)
def test_files_are_right_when_no_handler_suspends(tmp_path, settings):
    with serving(tmp_path, **settings) as server:
        churned(server, range(3))
        assert os.listdir(server.mountpoint) == []
        assert server.finish()["outcome"] == "returned"


@pytest.mark.parametrize("settings", LOOPS)
def test_files_are_right_when_handlers_suspend_at_random(tmp_path, settings):
    with serving(tmp_path, suspend=7, tick=True, **settings) as server:
        churned(server, range(4), count=25)
        end = server.finish()
        assert end["outcome"] == "returned"
        assert end["suspensions"] > 200


@pytest.mark.parametrize("settings", OURS)
def test_a_poll_that_lies_never_blocks_the_daemon(tmp_path, settings):
    """A request that vanishes between poll and read looks exactly like this."""
    with serving(tmp_path, suspend=3, lie=5, **settings) as server:
        churned(server, range(3), count=25)
        end = server.finish()
        assert end["outcome"] == "returned"
        assert end["loop"]["vanished"] > 20


@pytest.mark.parametrize("settings", LOOPS[:2])
def test_clients_killed_in_mid_request_cost_nothing(tmp_path, settings):
    with serving(tmp_path, suspend=11, **settings) as server:
        for number in range(30):
            process = client("pester", server.mountpoint)
            start = server.ask()["requests"]
            while server.ask()["requests"] < start + 5 * (number % 4):
                pass
            process.kill()
            process.wait()
        churned(server, range(2), count=10)
        assert server.finish()["outcome"] == "returned"


@pytest.mark.parametrize("settings", LOOPS[:2])
def test_ninety_nine_suspended_requests_all_end(tmp_path, settings):
    with serving(tmp_path, **settings) as server, ThreadPoolExecutor(99) as threads:
        paths = [server.mountpoint / f"gate{number}" for number in range(99)]
        for path in paths:
            os.mknod(path, 0o1600 | stat.S_IFREG)
        opened = [threads.submit(os.open, path, os.O_RDONLY) for path in paths[:98]]
        while server.ask()["gated"] < 98:
            pass
        # All but one worker hang in their handlers; the last one serves on.
        assert not os.path.exists(server.mountpoint / "absent")
        opened.append(threads.submit(os.open, paths[98], os.O_RDONLY))
        while server.ask()["gated"] < 99:
            pass
        server.ask("gate")
        for future in opened:
            os.close(future.result(HANG_S))
        churned(server, range(2), count=10)
        assert server.finish()["outcome"] == "returned"


@pytest.mark.parametrize("settings", LOOPS)
@pytest.mark.parametrize("suspend", [{}, {"suspend": 5}], ids=["quick", "suspending"])
def test_sockets_timers_and_threads_are_served_under_full_load(tmp_path, settings, suspend):
    with serving(tmp_path, tick=True, **settings, **suspend) as server:
        with pestered(server):
            before = server.ask()
            requests, ticks = before["requests"], before["ticks"]
            for _ in range(20):
                # Each answer comes while requests go on; a timer fires ever again as well.
                while (answer := server.ask())["ticks"] == ticks or answer["requests"] == requests:
                    pass
                requests, ticks = answer["requests"], answer["ticks"]
        end = server.finish()
        assert end["outcome"] == "returned"
        if settings["loop"] == "ours":
            # Trio runs at the latest after each `budget` waits, and one more of each worker.
            loop, budget = end["loop"], settings.get("budget", 64)
            assert (loop["turns"] + loop["handovers"]) * (budget + 6) >= loop["waits"] - budget


@pytest.mark.parametrize("settings", OURS)
def test_an_idle_daemon_sleeps(tmp_path, settings):
    with serving(tmp_path, suspend=1, **settings) as server:
        churned(server, range(2), count=10)
        server.ask()
        before = server.ask()["loop"]
        time.sleep(0.5)
        after = server.ask()["loop"]
        # Only the question itself woke it; a loop that spins counts thousands.
        for count in ("waits", "spins", "sleeps", "turns", "handovers"):
            assert after[count] - before[count] <= 12, count
        server.finish()


def test_polling_stops_when_it_catches_nothing(tmp_path):
    with serving(tmp_path, "ours", poll_us=1) as server:
        for _ in range(400):
            os.path.exists(server.mountpoint / "absent")
            server.ask()  # the caller is busy elsewhere for longer than 1 µs
        loop = server.finish()["loop"]
        if len(os.sched_getaffinity(0)) > 1:
            # How many it catches is the machine's to say; what it may miss in a row is not.
            tries = loop["waits"] + loop["turns"] + loop["handovers"]
            misses = loop["spins"] - loop["spin_hits"]
            assert 8 <= misses <= 8 * (loop["spin_hits"] + 1) + tries // 64 + 1
        else:
            assert loop["spins"] == 0


def test_one_cpu_never_polls(tmp_path):
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        with serving(tmp_path, "ours") as server:
            churned(server, range(2), count=10)
            assert server.finish()["loop"]["spins"] == 0
    finally:
        os.sched_setaffinity(0, cpus)


@pytest.mark.parametrize("settings", LOOPS)
def test_waiting_until_all_tasks_block_ends(tmp_path, settings):
    with serving(tmp_path, **settings) as server:
        assert not os.path.exists(server.mountpoint / "absent")
        for _ in range(3):
            server.ask("idle")
            assert not os.path.exists(server.mountpoint / "absent")
        churned(server, range(2), count=10)
        assert server.finish()["outcome"] == "returned"
