"""`--allow-host`: named hosts for a command without a network, through a proxy.

The sandbox keeps its network of its own, in which there is one thing more: a port of its loopback
that leads to proxyserver.py, outside. Programs find it by the variables that all of them know
(spec.py, `PROXY_VARIABLES`).
What does not use a proxy has no network, as before.

Concurrency: an attendant, see attendant.py. The port is open before the command starts.
"""

from __future__ import annotations

from collections.abc import Sequence

from vfsd.sandbox.allowed import rule
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.companion import Companion
from vfsd.sandbox.namespaces import listener_inside, network_of
from vfsd.sandbox.spec import PROXY_PORT


class ProxyAttendant(Attendant):
    """Lets the named hosts through for one run."""

    def __init__(self, hosts: Sequence[str], *, heard: bool) -> None:
        for each in hosts:
            rule(each)
        self._rules = tuple(hosts)
        self._heard = heard
        self._companion: Companion | None = None

    def inside(self, init: int) -> None:
        """Open the port and start the proxy."""
        network = network_of(init)
        try:
            with listener_inside(network, PROXY_PORT) as listener:
                number = listener.fileno()
                words = [str(number), *self._rules]
                self._companion = Companion("proxyserver", words, [number], heard=self._heard)
        finally:
            network.close()

    def ended(self, code: int) -> int:
        """Nobody is left to talk to."""
        self.abandoned()
        return code

    def abandoned(self) -> None:
        """End the proxy."""
        if self._companion is not None:
            self._companion.end(last_words=False)
            self._companion = None
