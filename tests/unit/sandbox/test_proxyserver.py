"""The proxy, with a resolver of the test's own: where names lead is not this machine's matter."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest
import trio

from vfsd.sandbox.allowed import rule
from vfsd.sandbox.proxyserver import Proxy


class Resolver(trio.abc.HostnameResolver):
    """Every name is at `places`."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = places

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in self._places]

    async def getnameinfo(self, sockaddr, flags):
        raise OSError("no names of addresses here")


async def status(rules: str, asked: str, places: Sequence[str]) -> bytes:
    """Return what the proxy answers to CONNECT."""
    trio.socket.set_custom_hostname_resolver(Resolver(places))
    ours, theirs = _pair()
    proxy = Proxy(map(rule, rules.split()))
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(proxy.serve, theirs)
        await ours.send_all(f"CONNECT {asked} HTTP/1.1\r\nHost: {asked}\r\n\r\n".encode())
        answer = await ours.receive_some(4096)
        nursery.cancel_scope.cancel()
    return answer.split()[1]


def _pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    one, other = trio.socket.socketpair()
    return trio.SocketStream(one), trio.SocketStream(other)


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_name_that_leads_to_a_private_address_takes_a_rule_for_the_address(port):
    asked = f"registry.example:{port}"
    assert await status(asked, asked, ["127.0.0.1"]) == b"403"
    assert await status(f"{asked} 127.0.0.1:{port}", asked, ["127.0.0.1"]) == b"200"
    assert await status(f"{asked} 127.0.0.1:1", asked, ["127.0.0.1"]) == b"403"


async def test_of_many_addresses_only_the_allowed_ones_are_tried(port):
    asked = f"registry.example:{port}"
    rules = f"{asked} 127.0.0.1:{port}"
    assert await status(rules, asked, ["10.255.255.1", "127.0.0.1"]) == b"200"


async def test_a_name_is_no_way_round_its_own_absence(port):
    assert await status(f"127.0.0.1:{port}", f"registry.example:{port}", ["127.0.0.1"]) == b"403"


async def test_a_host_that_is_not_there_is_a_bad_gateway():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await status(f"localhost:{port}", f"localhost:{port}", ["127.0.0.1"]) == b"502"
