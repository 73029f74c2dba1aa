"""HTTP with bounds: a directory's page, and ranges of a file, of servers that may send anything.

fsspec's own listing and range reads take whole bodies, however long they are and whether or not the
server heeded the range; these do not. Its client, its options and its `info` are used as they are.

Concurrency: coroutines for the driver's loop; no state.

Sources: RFC 9110, section 14 (ranges); fsspec.implementations.http.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

PAGE_MAX = 32 << 20
"""The largest page that is read for links."""
_HTML = ("text/html", "application/xhtml+xml")
# Neither part runs past the next "<": a page made to be slow is read in linear time.
_LINK = re.compile(
    rb"<a\s[^<>]{0,1000}?href\s*=\s*(?:\"([^\"]{0,4000})\"|'([^']{0,4000})')", re.IGNORECASE
)


class Unranged(Exception):
    """The server sends whole files only."""


class Changed(Exception):
    """The file is not the one that was asked about."""


class NoPage(Exception):
    """What is there is no page of links."""


async def listed(fs: Any, url: str) -> list[dict[str, object]]:  # noqa: ANN401
    """Return what the page at `url`, a directory's, links to directly below itself. NoPage."""
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), **fs.kwargs) as response:
        response.raise_for_status()
        if response.headers.get("Content-Type", _HTML[0]).partition(";")[0] not in _HTML:
            raise NoPage
        page = await _at_most(response, PAGE_MAX)
        final = str(response.url)
    directory = url.partition("?")[0]
    names = {name for link in _LINK.finditer(page) if (name := _below(link, final))}
    return [
        {"name": directory + name, "type": "directory" if name.endswith("/") else "file"}
        for name in names
    ]


def _below(link: re.Match[bytes], page: str) -> str | None:
    """Return the name of a link to something directly below the page, as it is quoted."""
    text = html.unescape((link[1] or link[2] or b"").decode("utf-8", "replace")).strip()
    try:
        here, there = urlsplit(page), urlsplit(urljoin(page, text))
    except ValueError:
        return None
    above = here.path[: here.path.rfind("/") + 1] or "/"
    if (here.scheme, here.netloc) != (there.scheme, there.netloc) or there.query or there.fragment:
        return None  # elsewhere; or this page once more, in another order
    if not there.path.startswith(above):
        return None
    name = there.path[len(above) :]
    return name if name and "/" not in name[:-1] and name != "/" else None


async def ranged(
    fs: Any,  # noqa: ANN401
    url: str,
    start: int,
    end: int,
    size: int,
    etag: str | None,
) -> bytes:
    """Return bytes `start` to `end` of a file of `size`; more than asked for is cut to one more.

    Unranged, Changed, and what aiohttp raises.
    """
    options: dict[str, Any] = dict(fs.kwargs)
    headers: dict[str, str] = {**options.pop("headers", {}), "Accept-Encoding": "identity"}
    whole = start == 0 and end >= size
    if not whole:
        headers["Range"] = f"bytes={start}-{end - 1}"
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), headers=headers, **options) as response:
        if response.status == 416:
            raise Changed
        response.raise_for_status()
        told = response.headers.get("ETag")
        if told and etag and told not in etag:
            raise Changed
        if not whole and not _heeded(response.status, response.headers, start):
            raise Unranged
        return await _at_most(response, end - start + 1)


def _heeded(status: int, headers: Mapping[str, str], start: int) -> bool:
    told = headers.get("Content-Range", f"bytes {start}-")
    return status == 206 and re.match(rf"\s*bytes\s+{start}-", told) is not None


async def _at_most(response: Any, limit: int) -> bytes:  # noqa: ANN401
    pieces, room = [], limit
    while room and (piece := await response.content.read(min(room, 1 << 20))):
        pieces.append(piece)
        room -= len(piece)
    if not room:
        response.close()  # what else it sends is not read
    return b"".join(pieces)
