"""One look at the root before anything is attached: a wrong address is told now, not at each read.

Concurrency: for one trio task.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from providers.remote.calls import Calls
from providers.remote.httpdoor import NoPage, listed
from providers.remote.layout import Layout
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

_CODES = {
    errno.ENOENT: ExitCode.NOT_FOUND,
    errno.EACCES: ExitCode.DENIED,
    errno.EPERM: ExitCode.DENIED,
}
_UNLISTED = frozenset({errno.ENOENT, errno.EACCES, errno.EIO})
"""A web server may serve files and still refuse to list a directory."""


async def check_root(calls: Calls, layout: Layout) -> list[dict[str, object]]:
    """Return what the root lists. UserError unless it can be served."""
    driver = calls.driver
    place = layout.place(b"", directory=True)
    try:
        if driver.is_http:
            return await calls.in_loop(f"listing {place}", lambda: _page(calls, place))
        infos = await calls.ask(f"listing {place}", "ls", place, detail=True)
    except OSError as error:
        if driver.is_http and error.errno in _UNLISTED:
            return []
        raise UserError(
            f"{driver.url} cannot be listed: "
            f"{calls.last_failure or os.strerror(error.errno or errno.EIO)}; see whether the "
            "address is right and the server up",
            _CODES.get(error.errno or 0, ExitCode.UNAVAILABLE),
        ) from None
    names = [str(info.get("name", "")).strip("/") for info in infos]
    if len(infos) == 1 and infos[0].get("type") == "file" and names == [place.strip("/")]:
        raise UserError(
            f"{driver.url} is a file; attach the directory it is in, or, for an archive, what it "
            "holds: fsspec:zip::URL",
            ExitCode.USAGE,
        )
    if len(infos) == 1 and infos[0].get("type") == "directory" and names == ["."]:
        layout.descend(".")  # a tar of a directory, made from inside it
        return await calls.ask("listing it", "ls", ".", detail=True)  # type: ignore[no-any-return]  # it has no types
    return infos  # type: ignore[no-any-return]  # it has no types


async def _page(calls: Calls, place: str) -> list[dict[str, object]]:
    with suppress(NoPage):
        return await listed(calls.driver.fs, place)
    return []
