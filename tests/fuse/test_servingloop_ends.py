"""How serving ends: by each door, in the same way with both loops, and nothing hangs."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading

import pytest
import trio

from tests.fuse.loopserver import serving
from tests.fuse.test_servingloop import LOOPS, churned, pestered
from vfsd.fuse.triointernals import bind
from vfsd.fuse.waiting import Waiting

pytestmark = pytest.mark.fuse

WORDS = {
    "terminate": "returned",
    "terminate from thread": "returned",
    "cancel": "returned",
    "raise": "LookupError",
}
SIGNALS = {signal.SIGTERM: "returned", signal.SIGINT: "KeyboardInterrupt"}


@pytest.mark.parametrize("settings", LOOPS)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("word", WORDS)
def test_ends_from_a_task(tmp_path, settings, busy, word):
    with serving(tmp_path, **settings) as server:
        if busy:
            with pestered(server):
                server.tell(word)
                end = server.wait()
        else:
            server.ask()
            server.tell(word)
            end = server.wait()
        assert end["outcome"] == WORDS[word]
        assert end["restored"]


@pytest.mark.parametrize("settings", LOOPS)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("number", SIGNALS)
def test_ends_by_a_signal(tmp_path, settings, busy, number):
    with serving(tmp_path, suspend=2, **settings) as server:
        if busy:
            with pestered(server):
                server.process.send_signal(number)
                end = server.wait()
        else:
            os.path.exists(server.mountpoint / "absent")
            server.process.send_signal(number)
            end = server.wait()
        assert end["outcome"] == SIGNALS[number]
        assert end["restored"]


@pytest.mark.parametrize("settings", LOOPS)
def test_ends_when_unmounted_from_outside(tmp_path, settings):
    with serving(tmp_path, **settings) as server:
        churned(server, range(2), count=5)
        subprocess.run(["fusermount3", "-u", str(server.mountpoint)], check=True)
        assert server.wait()["outcome"] == "returned"


@pytest.mark.parametrize("settings", LOOPS)
def test_ends_when_unmounted_before_the_first_request(tmp_path, settings):
    with serving(tmp_path, **settings) as server:
        server.ask()
        subprocess.run(["fusermount3", "-u", str(server.mountpoint)], check=True)
        assert server.wait()["outcome"] == "returned"


@pytest.mark.parametrize("settings", LOOPS)
def test_ends_when_a_handler_terminates(tmp_path, settings):
    with serving(tmp_path, **settings) as server:
        assert not os.path.exists(server.mountpoint / "end")
        assert server.wait()["outcome"] == "returned"


@pytest.mark.parametrize("settings", LOOPS)
def test_an_exception_in_a_handler_ends_the_daemon(tmp_path, settings):
    with serving(tmp_path, **settings) as server:
        churned(server, range(2), count=5)
        with pytest.raises(OSError, match="divide"):
            os.stat(server.mountpoint / "divide")
        assert server.wait()["outcome"] == "ZeroDivisionError"


@pytest.mark.parametrize("settings", LOOPS)
def test_suspended_requests_are_cancelled_with_the_nursery(tmp_path, settings):
    with serving(tmp_path, **settings) as server:
        path = server.mountpoint / "gate"
        os.mknod(path, 0o1600 | stat.S_IFREG)
        caller = subprocess.Popen(["cat", str(path)], stderr=subprocess.DEVNULL)
        while not server.ask()["gated"]:
            pass
        server.tell("cancel")
        assert server.wait()["outcome"] == "returned"
        assert caller.wait() != 0


async def test_a_worker_cancelled_before_it_waits_does_not_sleep():
    """The daemon's fd is a pipe here, written to at last so that a failure does not hang."""
    reader, writer = os.pipe()
    waiting = Waiting(reader, bind(), spin_ns=0, budget=64)
    rescue = threading.Timer(5, os.write, (writer, b"x"))
    rescue.start()
    try:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope() as scope:
            scope.cancel()
            await waiting.wait_readable(reader)
        assert scope.cancelled_caught
    finally:
        rescue.cancel()
        rescue.join()
        waiting.close()
        os.close(reader)
        os.close(writer)
