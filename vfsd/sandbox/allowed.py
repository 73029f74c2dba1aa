"""`--allow-host`: which hosts a command without a network may talk to, through a proxy.

A rule names a host and perhaps a port: ``registry.example.org``, ``*.example.org:8443``,
``10.1.2.3``, ``[::1]:8080``. Without a port it means 80 and 443. ``*.`` stands for one or more
labels, and not for none.

Names are compared with what the command asks for; then the name is resolved, outside, and each
address is looked at, too: one that is not public (a loopback, a private network, a link) is
refused unless a rule names that address itself, or the name is ``localhost``. So whoever
controls the addresses of an allowed name gains no way into the caller's own networks.

What it is *not*: the proxy (proxyserver.py).

Concurrency: pure functions of immutable values.

Sources: RFC 9110, 7.2; RFC 6761, 6.3; IANA's registries of special-purpose addresses, which the
module ipaddress follows.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

PORTS = frozenset({80, 443})
LOCAL = "localhost"
NAME_MAX_BYTES = 253
LABEL_MAX_BYTES = 63
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")

Address = IPv4Address | IPv6Address


class Rule(NamedTuple):
    """What one `--allow-host` lets through."""

    host: str
    """A name in lower case, or an address as ipaddress writes it."""
    below: bool = False
    """Names below it, and not itself."""
    port: int | None = None

    def covers(self, host: str, port: int) -> bool:
        """Say whether a host, spelled like ours, and a port are meant."""
        named = host.endswith(f".{self.host}") if self.below else host == self.host
        return named and (port in PORTS if self.port is None else port == self.port)


def rule(text: str) -> Rule:
    """Read a rule. UserError (125) if it is none."""
    host, port = split(text.strip(), None)
    below = host.startswith("*.")
    name = canonical(host[2:] if below else host)
    if name is None or (below and address(name) is not None):
        raise UserError(
            f"--allow-host {text!r}: write a host such as registry.example.org, *.example.org"
            " or example.org:8443",
            ExitCode.RUN_FAILED,
        )
    return Rule(name, below, port)


def split(text: str, default: int | None) -> tuple[str, int | None]:
    """Split ``host:port``; the host is empty where that is not what it is."""
    host, separator, digits = text.rpartition(":")
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return "", None
        host, separator, digits = inner, rest[:1], rest[1:]
    elif not separator or ":" in host:  # an address of version 6 without brackets
        return text, default
    if not separator:
        return host, default
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits[:6]) < 65_536):
        return "", None
    return host, int(digits)


def canonical(host: str) -> str | None:
    """Return a host as rules spell it; None if it is neither a name nor an address."""
    found = address(host)
    if found is not None:
        return str(found)
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    fits = all(0 < len(label) <= LABEL_MAX_BYTES and set(label) <= LETTERS for label in labels)
    # Names that end with a number are addresses to some resolvers: 127.1, 0x7f.1, 2130706433.
    if not fits or len(name) > NAME_MAX_BYTES or labels[-1][0].isdigit():
        return None
    return name


def address(host: str) -> Address | None:
    """Return the address that `host` spells; None if it is a name."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def asked_for(rules: tuple[Rule, ...], host: str, port: int) -> bool:
    """Say whether a command may ask for this host, which is spelled like ours."""
    return any(each.covers(host, port) for each in rules)


def reachable(rules: tuple[Rule, ...], host: str, found: Address, port: int) -> bool:
    """Say whether a host that may be asked for may be reached at this address."""
    if any(not each.below and each.covers(str(found), port) for each in rules):
        return True
    if host == LOCAL:
        return found.is_loopback
    return found.is_global and not found.is_multicast
