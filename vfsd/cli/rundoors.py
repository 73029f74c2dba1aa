"""The options of `vfsd run` that open single doors in a closed network.

Concurrency: short blocking calls.
"""

from __future__ import annotations

from vfsd.cli.runlimits import teller
from vfsd.cli.runoptions import Given
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.attendant import Attendant


def doors(given: Given) -> list[Attendant]:
    """Return what opens them. UserError (125) for a wrong value, or a port that is taken."""
    ports, hosts = given.all("--publish"), given.all("--allow-host")
    if given.has("--net"):
        for option, values in (("--publish", ports), ("--allow-host", hosts)):
            if values:
                raise UserError(
                    f"{option} opens a closed network, and --net leaves it open: give one of them",
                    ExitCode.RUN_FAILED,
                )
    found: list[Attendant] = []
    # Imported here: sockets are of no use to most runs.
    if hosts:
        from vfsd.sandbox.proxy import ProxyAttendant

        found.append(ProxyAttendant(hosts, heard=not given.has("--quiet")))
    if ports:
        from vfsd.sandbox.publish import Publisher, published

        found.append(Publisher([published(each) for each in ports], teller(given)))
    return found
