"""Which hosts `--allow-host` means, and which addresses of theirs."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from vfsd.errors import UserError
from vfsd.sandbox.allowed import asked_for, canonical, reachable, rule, split


def may_ask(rules: str, host: str, port: int) -> bool:
    name = canonical(host)
    return name is not None and asked_for(tuple(map(rule, rules.split())), name, port)


@pytest.mark.parametrize(
    ("rules", "host", "port"),
    [
        ("example.org", "example.org", 443),
        ("example.org", "example.org", 80),
        ("example.org", "EXAMPLE.org.", 443),
        ("Example.ORG.", "example.org", 443),
        ("example.org:8443", "example.org", 8443),
        ("*.example.org", "a.example.org", 443),
        ("*.example.org", "a.b.example.org", 443),
        ("a.org b.org", "b.org", 443),
        ("10.1.2.3", "10.1.2.3", 80),
        ("10.1.2.3", "::ffff:10.1.2.3", 80),
        ("[::1]:81", "::1", 81),
        ("::1", "0:0:0:0:0:0:0:1", 80),
        ("localhost:3000", "localhost", 3000),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", 443),
        ("a_b.example.org", "a_b.example.org", 443),
    ],
)
def test_what_is_meant(rules, host, port):
    assert may_ask(rules, host, port)


@pytest.mark.parametrize(
    ("rules", "host", "port"),
    [
        ("example.org", "example.com", 443),
        ("example.org", "example.org", 22),
        ("example.org", "example.org", 8080),
        ("example.org:8443", "example.org", 443),
        ("example.org", "a.example.org", 443),
        ("example.org", "badexample.org", 443),
        ("example.org", "example.org.evil.net", 443),
        ("*.example.org", "example.org", 443),
        ("*.example.org", "badexample.org", 443),
        ("example.org", "example.org\0.evil.net", 443),
        ("example.org", "example.org@evil.net", 443),
        ("example.org", "example.org/", 443),
        ("example.org", "example.org:443", 443),
        ("10.1.2.3", "10.1.2.4", 80),
        ("127.0.0.1", "127.1", 80),
        ("127.0.0.1", "2130706433", 80),
        ("127.0.0.1", "0x7f.0.0.1", 80),
        ("127.0.0.1", "0177.0.0.1", 80),
        ("localhost", "127.0.0.1", 80),
        ("example.org", "", 443),
        ("example.org", "..", 443),
        ("example.org", "ex\N{CYRILLIC SMALL LETTER A}mple.org", 443),
    ],
)
def test_what_is_not(rules, host, port):
    assert not may_ask(rules, host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "*", "*.", "*.*", "a.*", "-:", "http://a.org", "a.org/x", "a b", "a..b", ".a"),
        *("a.org:0", "a.org:65536", "a.org:x", "a.org:", "a.org:٣", "[::1", "[::1]x", "*.10.1.2.3"),
        *("1.2.3", "256.1.1.1", "0x7f.1", f"{'a' * 64}.org", f"{'a.' * 130}org", "user@a.org"),
    ],
)
def test_what_is_no_rule(text):
    with pytest.raises(UserError, match="--allow-host"):
        rule(text)


PRIVATE = (
    *("127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
    *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1"),
)


@pytest.mark.parametrize("place", PRIVATE)
def test_an_address_that_is_not_public_takes_a_rule_of_its_own(place):
    found = ip_address(place)
    rules = (rule("example.org"), rule("*.example.net"))
    assert not reachable(rules, "example.org", found, 443)
    named = rule(f"[{place}]:443" if ":" in place else place)
    assert reachable((*rules, named), "example.org", found, 443)
    assert not reachable((*rules, named), "example.org", found, 22)


@pytest.mark.parametrize("place", ["::ffff:127.0.0.1", "::ffff:10.0.0.1"])
def test_an_address_of_version_4_within_one_of_version_6_is_what_it_is(place):
    assert canonical(place) == place.rpartition(":")[2]


def test_public_addresses_and_localhost():
    rules = (rule("example.org"), rule("localhost:3000"))
    assert reachable(rules, "example.org", ip_address("1.1.1.1"), 443)
    assert reachable(rules, "example.org", ip_address("2606:4700:4700::1111"), 443)
    assert reachable(rules, "localhost", ip_address("127.0.0.1"), 3000)
    assert reachable(rules, "localhost", ip_address("::1"), 3000)
    # A resolver that was tampered with gains nothing.
    assert not reachable(rules, "localhost", ip_address("10.0.0.1"), 3000)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        *(("a.org", ("a.org", 80)), ("a.org:1", ("a.org", 1)), ("[::1]", ("::1", 80))),
        *(("[::1]:2", ("::1", 2)), ("::1", ("::1", 80)), ("a:b:1", ("a:b:1", 80))),
    ],
)
def test_host_and_port(text, parts):
    assert split(text, 80) == parts
