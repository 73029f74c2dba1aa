"""Names in the tree and what the driver calls the same files.

A server may list anything; of what it lists only names that a directory can hold are taken: not
empty, ``.`` or ``..``, at most 255 bytes, without ``/`` and NUL, and each once. A name that is both
a file and a directory, as object stores allow, is the directory, so that what is below can be
reached. What is left out is counted, and told of once.

For HTTP the driver's names are URLs: a name is unquoted for the tree and quoted for the server, and
a query that the root has (a token) goes with each.

Concurrency: the counter apart, pure functions.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote_to_bytes, urlsplit

from providers.remote.facts import Facts, facts_of
from vfsd.provider import NAME_MAX

log = logging.getLogger(__name__)


class Layout:
    """Where the tree stands in the driver's world."""

    def __init__(self, root: str, url: str, *, is_http: bool) -> None:
        """`root` is the driver's name for the root; `url` is for the log."""
        self._is_http = is_http
        self._suffix = ""
        if is_http:
            query = urlsplit(root).query
            root = root.partition("#")[0].partition("?")[0]
            self._suffix = f"?{query}" if query else ""
        self._root = root.rstrip("/")
        self._top = root if not self._root else self._root
        self._url = url
        self.skipped = 0

    def place(self, path: bytes, *, directory: bool = False) -> str:
        """Return the driver's name for `path`; HTTP's directories end in a slash."""
        if self._is_http:
            quoted = quote(path, safe="/")
            place = f"{self._root}/{quoted}"
            return place.rstrip("/") + ("/" if directory else "") + self._suffix
        if not path:
            return self._top
        name = os.fsdecode(path)
        return f"{self._root}/{name}" if self._root else name

    def descend(self, name: str) -> None:
        """Let the root be the directory `name` in it."""
        self._root = self._top = f"{self._root}/{name}" if self._root else name

    def children(self, path: bytes, listed: Iterable[Mapping[str, object]]) -> dict[bytes, Facts]:
        """Return what a directory's listing holds, in the order of names."""
        own = self.place(path, directory=True).partition("?")[0].strip("/")
        found: dict[bytes, Facts] = {}
        for info in listed:
            full = info.get("name")
            if not isinstance(full, str):
                self._skip(repr(full))
                continue
            if full.strip("/") == own:
                continue  # itself: a marker for the directory, in an object store
            name = self._name(full, own)
            if name is None or name in (b".", b"..") or len(name) > NAME_MAX:
                self._skip(full)
                continue
            facts = facts_of(info)
            if name in found:
                self._skip(full)
                if found[name].is_directory or not facts.is_directory:
                    continue
            found[name] = facts
        return dict(sorted(found.items()))

    def _name(self, full: str, own: str) -> bytes | None:
        rest = full.lstrip("/")
        if own:
            if not rest.startswith(own + "/"):
                return None
            rest = rest[len(own) + 1 :]
        if rest.endswith("/"):
            rest = rest[:-1]
        try:
            name = unquote_to_bytes(rest) if self._is_http else os.fsencode(rest)
        except UnicodeEncodeError:
            return None
        return None if not name or b"/" in name or b"\0" in name else name

    def _skip(self, full: str) -> None:
        self.skipped += 1
        if self.skipped == 1:
            shown = full[-100:].encode("ascii", "backslashreplace").decode()
            log.warning(
                "%s lists names that no directory can hold, or twice, such as %s; they are left "
                "out (names_skipped in vfsd status)",
                self._url,
                shown,
            )
