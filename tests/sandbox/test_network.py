"""Doors in a closed network: `--publish` and `--allow-host`, with real servers on both sides.

As whoever runs the tests, and as an ordinary user where root does. Everything stays on this
machine: the hosts that are let through are ports of its loopback.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import pwd
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandbox.conftest import WAIT_S, Box, eventually, with_word

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

USER = pwd.getpwnam("nobody")
BECOME = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups"]

ECHO = """
import socket, threading
def serve(connection):
    with connection:
        while data := connection.recv(65536): connection.sendall(data)
        connection.sendall(b"the end")
with socket.create_server((HOST, 8000), family=FAMILY, backlog=200) as server:
    while True: threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()
"""
"""A server that tells whether it heard the end of what was sent to it."""

FETCH = """
import sys, urllib.request
for address in sys.argv[1:]:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            print(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
    except OSError as error:
        print(error)
"""


class Runner:
    """`vfsd run` by one of two users, and its end."""

    def __init__(self, box: Box, become: list[str]) -> None:
        self.box = box
        self._become = become
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *words: object) -> subprocess.Popen[str]:
        environment = dict(self.box.environment)
        # A proxy of this machine's own is not for its loopback.
        environment |= dict.fromkeys(("no_proxy", "NO_PROXY"), "*")
        running = subprocess.Popen(
            [*self._become, *self.box.words(*words)],
            cwd=self.box.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(running)
        return running

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        running = self.start(*words)
        said, complained = running.communicate(timeout=60)
        return subprocess.CompletedProcess(running.args, running.returncode, said, complained)

    def fetch(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run with options up to "--", and fetch the addresses after it, inside."""
        at = words.index("--")
        return self.run(*words[:at], "--", "/usr/bin/python3", "-c", FETCH, *words[at + 1 :])

    def close(self) -> None:
        for running in self._running:
            with running:
                running.kill()


@pytest.fixture(params=["we, on a mount", "an ordinary user"])
def by(
    box: Box, own_project: Callable[[list[int]], Box], request: pytest.FixtureRequest
) -> Iterator[Runner]:
    """`vfsd run`: writing to a mount, and over a directory with a layer."""
    runner = Runner(box, [])
    if request.param == "an ordinary user":
        ordinary = os.getuid() == 0
        runner = Runner(
            own_project([USER.pw_uid, USER.pw_gid] if ordinary else []), BECOME if ordinary else []
        )
    yield runner
    runner.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def connected(port: int) -> socket.socket:
    """Connect to a server that may still be starting: closed at once means not yet."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
            with contextlib.suppress(OSError):
                connection.sendall(b"?")
                if connection.recv(1) == b"?":
                    return connection
            connection.close()
        time.sleep(0.02)
    raise AssertionError("the server inside does not answer")


def echo(host: str = "127.0.0.1", family: str = "socket.AF_INET") -> list[str]:
    script = ECHO.replace("HOST", repr(host)).replace("FAMILY", family)
    return ["/usr/bin/python3", "-c", script]


def test_a_published_port_leads_inside(by):
    port = free_port()
    by.start("--publish", f"{port}:8000", "--", *echo())
    with connected(port) as connection:
        sent = os.urandom(3_000_000)
        received = bytearray()

        def receive() -> None:
            while data := connection.recv(65_536):
                received.extend(data)

        reader = threading.Thread(target=receive)
        reader.start()
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        reader.join(WAIT_S)
        # The server heard the end, and what it said after that arrived.
        assert bytes(received) == sent + b"the end"


def test_many_connections_at_once_each_their_own(by):
    port = free_port()
    by.start("--publish", f"{port}:8000", "--", *echo())
    with contextlib.ExitStack() as stack:
        stack.enter_context(connected(port))
        many = [stack.enter_context(connected(port)) for _ in range(100)]
        for number, connection in enumerate(many):
            connection.sendall(b"%d." % number)
        for number, connection in reversed(list(enumerate(many))):
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answer:
                assert answer.read() == b"%d.the end" % number


def test_a_server_on_the_other_loopback_is_found(by):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    port = free_port()
    by.start("--publish", f"{port}:8000", "--", *echo("::1", "socket.AF_INET6"))
    connected(port).close()


def test_several_ports_and_one_that_is_chosen(by):
    port = free_port()
    running = by.start("--publish", f"{port}:8000", "--publish", "0:8000", "--", *echo())
    told = running.stderr.readline()
    assert told.startswith("vfsd: port 8000 of the command is 127.0.0.1:")
    connected(int(told.rpartition(":")[2].split()[0])).close()
    connected(port).close()


def test_the_port_is_ours_only_and_closed_when_the_run_ends(by):
    port = free_port()
    word = f"server-{by.box.path.name}"
    running = by.start("--publish", f"{port}:8000", "--", *echo(), word)
    with connected(port):
        # Of this machine's sockets that listen, none has the port but at the loopback.
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
        assert listening == [f"0100007F:{port:04X}"]
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT_S) == 143
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("option", ["--publish", "--allow-host"])
def test_nothing_is_left_when_vfsd_is_killed(by, option):
    port = free_port()
    word = f"killed-{by.box.path.name}"
    value = f"{port}:8000" if option == "--publish" else f"localhost:{port}"
    server = "portserver" if option == "--publish" else "proxyserver"
    before = set(with_word(f"vfsd.sandbox.{server}"))
    running = by.start(option, value, "--", "sh", "-c", f": {word}; echo ready; sleep 60")
    assert running.stdout.readline() == "ready\n"
    ours = set(with_word(f"vfsd.sandbox.{server}")) - before
    assert len(ours) == 1
    running.kill()
    assert eventually(lambda: not with_word(word))
    assert eventually(lambda: not ours & set(with_word(f"vfsd.sandbox.{server}")))


def test_what_was_said_last_arrives(by):
    port = free_port()
    script = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 8000)) as server:\n"
        "    connection, _ = server.accept()\n"
        "    connection.sendall(connection.recv(1) + b'x' * 300000)\n"
    )
    by.start("--publish", f"{port}:8000", "--", "/usr/bin/python3", "-c", script)
    with connected(port) as connection, connection.makefile("rb") as answer:
        assert len(answer.read()) == 300_000


def test_a_port_that_is_taken_is_an_error_before_anything_runs(by):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = by.run("--publish", f"{port}:80", "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert f"port {port} of 127.0.0.1 cannot be published: Address already in use" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *((("--publish", text), "write a port") for text in ("", "x", "-1", "65536", "1:", "1:0")),
        *((("--publish", text), "write a port") for text in ("1:2:3", "80:x", "٣", "0x50")),
        *((("--allow-host", text), "write a host") for text in ("", "*", "http://a.org", "a b")),
        (("--net", "--publish", "8080"), "give one of them"),
        (("--net", "--allow-host", "a.org"), "give one of them"),
    ],
)
def test_what_is_no_door(box, options, said):
    done = box.run(*options, "--", "touch", "ran")
    assert done.returncode == 125
    assert said in done.stderr.decode()
    assert not (box.path / "ran").exists()


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = f"{self.path} {self.headers['Host']} {self.headers['X-Mine']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[int]:
    """The port of a web server on this machine's loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


USING = (*("--env", "no_proxy="), *("--env", "NO_PROXY="))
"""Inside, what is called localhost is the sandbox's own; here it is to be asked of the proxy."""


def test_a_named_host_is_reached_and_no_other(by, web):
    other = free_port()
    asked = [
        f"http://localhost:{web}/page?x=1",
        f"http://localhost:{other}/",
        "http://example.org/",
    ]
    # Under its address it has not been named.
    asked += [f"http://127.0.0.1:{web}/", f"http://[::1]:{web}/"]
    done = by.fetch("--allow-host", f"localhost:{web}", *USING, "--", *asked)
    page, *refused = done.stdout.splitlines()
    assert page == f"200 /page?x=1 localhost:{web} None"
    assert [line.split()[0] for line in refused] == ["403"] * 4, done
    assert f"'vfsd run --allow-host localhost:{other}' lets it through" in done.stderr
    assert "'vfsd run --allow-host example.org' lets it through" in done.stderr


def test_a_tunnel_leads_to_a_named_host_and_no_other(by, web):
    script = (
        "import http.client, sys\n"
        "for host in sys.argv[1:]:\n"
        "    proxy = http.client.HTTPConnection('127.0.0.1', 8118, timeout=20)\n"
        "    name, _, port = host.rpartition(':')\n"
        "    proxy.set_tunnel(name, int(port))\n"
        "    try:\n"
        "        proxy.request('GET', '/through')\n"
        "        print(proxy.getresponse().read().decode())\n"
        "    except OSError as error: print(error)\n"
    )
    hosts = [f"localhost:{web}", f"127.0.0.1:{web}", "example.org:443", "localhost:22"]
    done = by.run(
        "--allow-host", f"localhost:{web}", "--", "/usr/bin/python3", "-c", script, *hosts
    )
    through, *refused = done.stdout.splitlines()
    assert through == f"/through localhost:{web} None"
    assert all("403" in line for line in refused), done
    assert len(refused) == 3


def test_the_network_is_closed_all_the_same(by, web):
    script = (
        "import socket, sys\n"
        "for place in (('127.0.0.1', int(sys.argv[1])), ('192.0.2.1', 80)):\n"
        "    try: socket.create_connection(place, timeout=10); print('open')\n"
        "    except OSError as error: print('closed')\n"
        "print([name for _, name in socket.if_nameindex()])\n"
    )
    done = by.run("--allow-host", f"localhost:{web}", "--", "/usr/bin/python3", "-c", script, web)
    assert done.stdout == "closed\nclosed\n['lo']\n"


def test_without_it_there_is_no_proxy(by):
    done = by.run(
        "--", "bash", "-c", "env | cut -d= -f1 | grep -i proxy; exec 3<>/dev/tcp/127.0.0.1/8118"
    )
    assert done.stdout == ""
    assert done.returncode != 0


HOSTILE = (
    b"",
    b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://evil@localhost:bad/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT localhost HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT localhost:99999 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT :1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT [::1:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT example.org\0:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00" + b"\0" * 512,
    b"A" * 200_000,
    b"GET http://localhost/ HTTP/1.1\r\n" + b"X: y\r\n" * 30_000,
)


def test_what_is_no_request_harms_nobody(by, web):
    """A connection for each; afterwards the proxy works as before."""
    script = (
        "import socket, sys, urllib.request\n"
        f"for hostile in {HOSTILE!r}:\n"
        "    with socket.create_connection(('127.0.0.1', 8118), timeout=20) as proxy:\n"
        "        try:\n"
        "            proxy.sendall(hostile); proxy.shutdown(socket.SHUT_WR)\n"
        "            answer = b''\n"
        "            while data := proxy.recv(65536): answer += data\n"
        "        except OSError: answer = b'reset'\n"
        "    print(answer[:12].decode())\n"
        "print(urllib.request.urlopen(sys.argv[1], timeout=20).status)\n"
    )
    path = Path(by.box.path, "hostile.py")
    path.write_text(script)
    words = ("--", "/usr/bin/python3", path, f"http://localhost:{web}/")
    done = by.run("--allow-host", f"localhost:{web}", *USING, *words)
    *answers, last = done.stdout.splitlines()
    assert last == "200", done
    assert len(answers) == len(HOSTILE)
    allowed = ("HTTP/1.1 400", "HTTP/1.1 403", "HTTP/1.1 414", "HTTP/1.1 431", "reset", "")
    assert [each for each in answers if each not in allowed] == []


def test_what_only_concerns_the_proxy_is_not_passed_on(by):
    seen: list[bytes] = []

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while not seen or not seen[-1].endswith(b"\r\n\r\n"):
                seen.append((seen[-1] if seen else b"") + connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    script = (
        "import socket, sys\n"
        "with socket.create_connection(('127.0.0.1', 8118), timeout=20) as proxy:\n"
        "    port = sys.argv[1].encode()\n"
        "    proxy.sendall(b'GET http://localhost:' + port + b'/a HTTP/1.1\\r\\n'\n"
        "        b'Host: other.org\\r\\n'\n"
        "        b'Proxy-Authorization: secret\\r\\nConnection: X-Drop, keep-alive\\r\\n'\n"
        "        b'X-Drop: 1\\r\\nX-Keep: 2\\r\\n\\r\\n')\n"
        "    print(proxy.recv(12).decode())\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        done = by.run(
            "--allow-host", f"localhost:{port}", "--", "/usr/bin/python3", "-c", script, port
        )
        thread.join(WAIT_S)
    assert done.stdout == "HTTP/1.1 204\n", done
    head = seen[-1].decode().lower()
    assert head.startswith("get /a http/1.1\r\n")
    assert f"host: localhost:{port}\r\n" in head
    assert "x-keep: 2" in head
    assert "connection: close" in head
    for gone in ("secret", "x-drop", "other.org", "keep-alive"):
        assert gone not in head
