"""Both clients: the same methods, the same results, and what happens when a daemon goes."""

import inspect
import os
import subprocess
import sys
import threading

import pytest
import trio

from vfsd import aclient, runtime
from vfsd import client as client_module
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

from .daemon import memory_daemon

CLOSING = {"close": "aclose"}


def test_both_clients_have_the_same_methods():
    ours = {
        CLOSING.get(name, name): method
        for name, method in inspect.getmembers(client_module.Client, inspect.isfunction)
        if not name.startswith("_")
    }
    theirs = {
        name: method
        for name, method in inspect.getmembers(aclient.AsyncClient, inspect.isfunction)
        if not name.startswith("_")
    }
    assert set(ours) == set(theirs)
    for name, method in ours.items():
        assert inspect.iscoroutinefunction(theirs[name]), name
        mine, other = inspect.signature(method), inspect.signature(theirs[name])
        assert str(mine.parameters) == str(other.parameters), name
        if name not in ("aclose", "watch", "top", "open"):
            assert mine.return_annotation == other.return_annotation, name
            assert method.__doc__ == theirs[name].__doc__, name


def test_the_blocking_client_imports_no_trio():
    script = "import sys, vfsd.client; sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


async def test_the_async_client_does_what_the_other_does(daemon):
    async with await aclient.connect(daemon.mountpoint) as tree:
        await tree.mkdir("a/b", parents=True)
        await tree.write_bytes("a/b/f", b"x" * 2_000_000)
        assert await tree.read_bytes("a/b/f") == b"x" * 2_000_000
        assert await tree.listdir("a") == [b"b"]
        assert await tree.exists("a")
        assert not await tree.exists("none")
        async with await tree.open("f", "w+b") as opened:
            assert opened.fd >= 0x4000_0000
            assert await opened.pwrite(b"hello", 3) == 5
            assert await opened.pread(10, 0) == b"\0\0\0hello"
            await opened.truncate(4)
            assert (await opened.stat()).stat.size == 4
            await opened.sync()
        with pytest.raises(FileNotFoundError):
            await tree.stat("none")
        await tree.attach("memory", "m")
        await tree.fork("m", "n")
        await tree.snapshot("m", "s")
        await tree.detach("n")
        assert len((await tree.status())["attachments"]) == 3
        assert await tree.remove_tree("a") == 3
        async with await tree.watch() as changes:
            await tree.symlink("x", "l")
            assert (await anext(changes)).name == b"l"


async def test_tasks_share_an_async_client(daemon):
    async with await aclient.connect(daemon.mountpoint) as tree:

        async def work(which: int) -> None:
            for turn in range(10):
                await tree.write_bytes(f"{which}-{turn}", b"%d" % which)
                assert await tree.read_bytes(f"{which}-{turn}") == b"%d" % which

        async with trio.open_nursery() as nursery:
            for which in range(10):
                nursery.start_soon(work, which)
        assert len(await tree.listdir()) == 100


async def test_a_cancelled_call_ends_the_connection_and_its_files(daemon):
    arrived = threading.Event()

    async def hang() -> None:
        arrived.set()
        await trio.sleep_forever()

    daemon.root.statfs = hang
    async with await aclient.connect(daemon.mountpoint) as tree, await tree.open("f", "wb"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.statfs)
            assert await trio.to_thread.run_sync(arrived.wait, 20)
            nursery.cancel_scope.cancel()
        with pytest.raises(ConnectionError):
            await tree.listdir()
    # The fixture's end checks that its file was closed; here, that others are served.
    async with await aclient.connect(daemon.mountpoint) as tree:
        assert await tree.listdir() == [b"f"]


def test_paths_are_relative_to_where_one_connected(daemon, tmp_path):
    with client_module.connect(tmp_path / "mount") as root:
        root.mkdir("a/b", parents=True)
        with client_module.connect(tmp_path / "mount/a") as below:
            below.write_bytes("b/f", b"1")
            below.write_bytes("/top", b"2")
            assert below.listdir() == [b"b"]
            assert below.mountpoint == root.mountpoint
            below.attach("memory", "m")
        assert root.listdir() == [b"a", b"top"]
        assert root.listdir("a") == [b"b", b"m"]


def test_errors_keep_their_kind(client):
    with pytest.raises(UserError, match="no provider") as caught:
        client.attach("nonsense", "x")
    assert caught.value.exit_code == ExitCode.NOT_FOUND
    with pytest.raises(FileNotFoundError) as missing:
        client.read_bytes("none")
    assert missing.value.errno == 2
    with pytest.raises(OSError, match="longer"):
        client._call(client_module.calls.put(b"", [(b"x", 0o100644, None, bytes(1 << 21))]))
    assert client.listdir() == []


def test_threads_share_a_client(client):
    failures = []

    def work(which: int) -> None:
        try:
            for turn in range(20):
                client.write_bytes(f"{which}-{turn}", b"%d" % which)
                assert client.read_bytes(f"{which}-{turn}") == b"%d" % which
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(client.listdir()) == 160


def test_a_daemon_that_goes_is_a_lost_connection(tmp_path):
    (tmp_path / "m").mkdir()
    daemon = memory_daemon(tmp_path / "m")
    daemon.start()
    client = client_module.connect(tmp_path / "m")
    opened = client.open("f", "wb")
    daemon.stop()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            client.listdir()
    opened.close()
    client.close()
    with pytest.raises(UserError) as caught:
        client_module.connect(tmp_path / "m")
    assert caught.value.exit_code == ExitCode.NOT_MOUNTED


def test_a_daemon_that_says_nothing_is_given_up_in_time(tmp_path):
    endpoint = runtime.bind(b"/silent")
    try:
        served = runtime.Served(endpoint.path, b"/silent", b"", os.geteuid())
        with pytest.raises(ConnectionError):
            client_module.Client(served, timeout_s=0.05)
    finally:
        endpoint.close()


@pytest.mark.parametrize(
    "answer",
    [b"\x00\x00\x00\x01\xc0", b"\xff\xff\xff\xff", b"\x00\x00\x00\x04\x93\x02\x01\xc0", b""],
    ids=["nil", "length", "no greeting", "end"],
)
def test_a_daemon_that_answers_nonsense_is_an_error(tmp_path, answer):
    endpoint = runtime.bind(b"/odd")

    def serve() -> None:
        connection, _ = endpoint.listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(OSError):
            client_module.Client(runtime.Served(endpoint.path, b"/odd", b"", os.geteuid()))
    finally:
        thread.join()
        endpoint.close()


def test_samples_end_with_the_daemon(tmp_path):
    (tmp_path / "other").mkdir()
    daemon = memory_daemon(tmp_path / "other")
    daemon.start()
    try:
        with client_module.connect(tmp_path / "other") as client:
            samples = client.top(60)
    finally:
        daemon.stop()
    with samples, pytest.raises(ConnectionError):
        next(samples)


async def test_samples_of_the_async_client(daemon):
    async with (
        await aclient.connect(daemon.mountpoint) as tree,
        await tree.top(0.01) as samples,
    ):
        assert await anext(samples) == {"requests": 0}
