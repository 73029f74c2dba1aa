"""The server against peers that are wrong, hostile, slow, many, or suddenly gone."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from vfsd import client as client_module
from vfsd.codec import encode
from vfsd.control.connection import IN_FLIGHT_LIMIT
from vfsd.control.framing import (
    DATA_LIMIT_BYTES,
    FRAME_LIMIT_BYTES,
    HEADER,
    SKIP_LIMIT_BYTES,
    Cancel,
    Failure,
    Part,
    Request,
    Result,
    encode_frame,
)
from vfsd.control.server import CONNECTIONS_LIMIT

from .rawpeer import RawPeer


@pytest.fixture
def path(daemon):
    return daemon.endpoint.path


def eventually(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


# -- wrong ------------------------------------------------------------------------------------


def test_a_version_that_nobody_speaks_is_told_and_another_may_be_tried(path):
    with RawPeer(path, greet=False) as peer:
        answer = peer.ask("hello", versions=[99])
        assert isinstance(answer, Failure)
        assert "version" in answer.text
        assert isinstance(peer.ask("hello", versions=[99, 1]), Result)


def test_before_the_greeting_nothing_is_done(path, daemon):
    with RawPeer(path, greet=False) as peer:
        answer = peer.ask("mkdir", path=b"x")
        assert isinstance(answer, Failure)
        assert "hello" in answer.text
    assert daemon.recorder.told == []


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x93\x01", encode([7, 7]), encode("text"), encode([2, 1, None])],
    ids=["empty", "never-used", "cut", "kind", "scalar", "result"],
)
def test_garbage_in_a_frame_is_answered_and_the_connection_lives(path, body):
    with RawPeer(path) as peer:
        peer.socket.sendall(HEADER.pack(len(body)) + body)
        answer = peer.receive()
        assert isinstance(answer, Failure)
        assert (answer.id, answer.errno) == (0, errno.EPROTO)
        assert isinstance(peer.ask("stat", path=b""), Result)


def test_an_oversized_message_is_skipped_and_the_connection_lives(path):
    with RawPeer(path) as peer:
        length = FRAME_LIMIT_BYTES + 1
        peer.socket.sendall(HEADER.pack(length) + b"x" * length)
        answer = peer.receive()
        assert isinstance(answer, Failure)
        assert (answer.id, answer.errno) == (0, errno.EMSGSIZE)
        assert isinstance(peer.ask("stat", path=b""), Result)


def test_a_mad_length_ends_the_connection_with_a_reason(path):
    with RawPeer(path) as peer:
        peer.socket.sendall(HEADER.pack(SKIP_LIMIT_BYTES + 1) + b"x" * 100_000)
        answer = peer.receive()
        assert isinstance(answer, Failure)
        assert answer.errno == errno.EMSGSIZE
        assert peer.receive() is None


def test_wrong_requests_are_told_apart(path):
    with RawPeer(path) as peer:
        assert peer.ask("nonsense").errno == errno.ENOSYS
        assert "missing" in peer.ask("stat").text
        assert "is to be" in peer.ask("stat", path="text").text
        assert "no parameter" in peer.ask("stat", path=b"", colour=1).text
        assert peer.ask("stat", path=b"nope").errno == errno.ENOENT
        assert peer.ask("stat", path=b"x" * 256).errno == errno.ENAMETOOLONG
        assert peer.ask("stat", path=b"a\0b").errno == errno.EINVAL
        assert isinstance(peer.ask("stat", path=b""), Result)


def test_a_number_in_use_is_refused(path):
    with RawPeer(path) as peer:
        number = peer.send("watch")
        assert isinstance(peer.receive(), Part)
        peer.socket.sendall(encode_frame(Request(number, "stat", {"path": b""})))
        answer = peer.receive()
        assert (answer.id, answer.errno) == (0, errno.EPROTO)
        peer.socket.sendall(encode_frame(Cancel(number)))
        answer = peer.receive()
        assert (answer.id, answer.errno) == (number, errno.ECANCELED)
        peer.socket.sendall(encode_frame(Request(number, "stat", {"path": b""})))
        assert isinstance(peer.receive(), Result)


def test_a_cut_message_costs_nothing(path, daemon):
    whole = encode_frame(Request(5, "mkdir", {"path": b"never"}))
    for end in range(len(whole)):
        with RawPeer(path) as peer:
            peer.socket.sendall(whole[:end])
    with RawPeer(path) as peer:
        assert peer.ask("stat", path=b"never").errno == errno.ENOENT


def test_random_bytes_do_not_end_the_server(path, caplog):
    seed = random.Random(11)
    for _ in range(60):
        with RawPeer(path, greet=seed.random() < 0.5) as peer:
            for _ in range(seed.randrange(1, 6)):
                body = seed.randbytes(seed.randrange(80))
                framed = HEADER.pack(len(body)) + body
                try:
                    peer.socket.sendall(framed if seed.random() < 0.8 else body)
                except (BrokenPipeError, ConnectionResetError):
                    break
    with RawPeer(path) as peer:
        assert isinstance(peer.ask("stat", path=b""), Result)
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


# -- not allowed ------------------------------------------------------------------------------

STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
data = b""
while piece := peer.recv(65536):
    data += piece
sys.stdout.buffer.write(data)
"""


@pytest.mark.root
def test_another_user_is_told_and_shut_out_even_if_the_file_lets_him(path, tmp_path):
    for directory in (path, path.parent, path.parent.parent, *tmp_path.parents[:2], tmp_path):
        os.chmod(directory, 0o777)
    try:
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, path], capture_output=True, timeout=30, check=False
        )
    finally:
        os.chmod(path.parent, 0o700)
    assert done.returncode == 0, done.stderr
    assert b"only the daemon's own user" in done.stdout


@pytest.mark.root
def test_another_user_cannot_even_connect(path):
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, path], capture_output=True, timeout=30, check=False
    )
    assert b"PermissionError" in done.stderr


# -- gone -------------------------------------------------------------------------------------

HOLDER = """
import os, signal, sys
from vfsd import client
tree = client.connect(sys.argv[1])
opened = [tree.open(f"f{i}", "w+b") for i in range(50)]
tree._call(client.calls.stage(b"", b""))
tree._conversation._transmit(b"\\x00\\x00\\x10\\x00half a message")
sys.stdout.write("ready\\n"); sys.stdout.flush()
signal.pause()
"""


def test_a_killed_client_costs_nothing(daemon, client):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, os.fsdecode(daemon.mountpoint)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "ready\n"
        assert len(daemon.handles.open_files) == 51
        assert any(name.startswith(b".vfsd-") for name in client.listdir())
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    eventually(lambda: not daemon.handles.open_files, "handles of a dead client stay open")
    eventually(
        lambda: client.listdir() == sorted(b"f%d" % i for i in range(50)),
        "a staged file of a dead client stays",
    )
    assert daemon.inside(lambda: daemon.tree.root.open_count) == 0


def test_closing_mid_request_leaves_nothing(daemon, path):
    entries = [[b"f%04d" % i, 0o100644, None, b"x" * 100] for i in range(2000)]
    for _ in range(5):
        with RawPeer(path) as peer:
            peer.send("put", at=b"", entries=entries)
    with client_module.connect(os.fsdecode(daemon.mountpoint)) as client:
        eventually(
            lambda: not any(name.startswith(b".vfsd-") for name in client.listdir()),
            "temporary files stay",
        )
        # Cancelled or not, no file is there in part.
        assert {info.stat.size for _, info in client.scandir()} <= {100}


def test_fds_belong_to_the_connection_that_opened_them(client, daemon):
    with client.open("mine", "wb") as mine, client_module.connect(daemon.mountpoint) as other:
        with pytest.raises(OSError) as caught:
            other._call(client_module.calls.read(mine.fd, 0, 1))
        assert caught.value.errno == errno.EBADF
        assert mine.fd >= 0x4000_0000


# -- many and slow ----------------------------------------------------------------------------


def test_more_requests_than_allowed_are_refused_and_counted_right(path):
    with RawPeer(path) as peer:
        watches = [peer.send("watch") for _ in range(IN_FLIGHT_LIMIT)]
        for _ in watches:
            assert isinstance(peer.receive(), Part)
        assert peer.ask("stat", path=b"").errno == errno.EAGAIN
        peer.socket.sendall(encode_frame(Cancel(watches[0])))
        assert peer.receive().errno == errno.ECANCELED
        assert isinstance(peer.ask("stat", path=b""), Result)


def test_a_slow_reader_holds_a_bounded_number_of_answers(path, client):
    client.write_bytes("big", bytes(DATA_LIMIT_BYTES))
    with RawPeer(path, receive_buffer=4096) as peer:
        peer.socket.setblocking(False)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sent = 0
        request = encode_frame(Request(1, "read_file", {"path": b"big"}))
        quiet = 0
        while quiet < 20:
            number = sent % 1000 + 2
            request = encode_frame(Request(number, "read_file", {"path": b"big"}))
            try:
                assert peer.socket.send(request) == len(request)
                sent += 1
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.01)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert sent > IN_FLIGHT_LIMIT
        assert grown_kib < 64 << 10
        assert client.stat("big").stat.size == DATA_LIMIT_BYTES  # nobody else waits


def test_a_slow_watcher_is_told_that_it_missed_something(path, client):
    with RawPeer(path, receive_buffer=4096) as peer:
        peer.send("watch")
        assert isinstance(peer.receive(), Part)
        entries = [(b"f%05d" % i, 0o100644, None, b"") for i in range(4000)]
        for _ in range(8):
            assert client._call(client_module.calls.put(b"", entries)) == []
        events = []
        while not any(event[1] is None for event in events):
            events += peer.receive().value
        assert [b"", None, None, True] in events


def test_sixty_four_clients_at_once(daemon):
    failures, barrier = [], threading.Barrier(64)

    def work(which: int) -> None:
        try:
            with client_module.connect(daemon.mountpoint) as tree:
                barrier.wait(30)
                for turn in range(5):
                    name = f"d{which}/f{turn}"
                    tree.mkdir(f"d{which}", parents=True)
                    tree.write_bytes(name, name.encode() * 50)
                    with tree.open(name) as opened:
                        assert opened.readall() == name.encode() * 50
                tree.rename(f"d{which}/f0", f"d{which}/renamed")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with client_module.connect(daemon.mountpoint) as tree:
        assert len(tree.listdir()) == 64
        assert tree.listdir("d63") == [b"f1", b"f2", b"f3", b"f4", b"renamed"]


def test_one_connection_too_many_is_told_why(daemon, path):
    peers = [RawPeer(path) for _ in range(CONNECTIONS_LIMIT)]
    try:
        with RawPeer(path, greet=False) as late:
            answer = late.receive()
            assert (answer.id, answer.errno) == (0, errno.EAGAIN)
            assert late.receive() is None
    finally:
        for peer in peers:
            peer.socket.close()
    eventually(lambda: _can_connect(daemon), "connections that ended still count")


def _can_connect(daemon) -> bool:
    try:
        client_module.connect(daemon.mountpoint).close()
    except OSError:
        return False
    return True


def test_what_nobody_foresaw_is_logged_and_ends_one_request_only(daemon, client, caplog):
    def explode(*_: object) -> None:
        raise RuntimeError("a provider's bug")

    daemon.root.statfs = explode
    with pytest.raises(OSError, match="its log says where"):
        client.statfs()
    assert "a provider's bug" in caplog.text
    assert client.listdir() == []


def test_stop_is_answered_before_it_is_obeyed(daemon, client):
    client.stop()
    assert daemon.stop_requested.wait(10)
