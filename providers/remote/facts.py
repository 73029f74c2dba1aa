"""What a driver says of a file, as facts that all drivers' words come to.

fsspec promises `name`, `size` and `type`; times, digests and modes have as many names as there are
drivers.

Concurrency: immutable values.

Source: the `info` of the drivers in fsspec, s3fs, gcsfs, adlfs and sshfs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_TIMES = (
    *("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified"),
    *("modify", "modification_time", "timeModified", "date_time", "created"),
)
_DIGESTS = (
    *("ETag", "etag", "md5Hash", "crc32c", "content_md5", "Content-MD5", "Digest", "hex", "CRC"),
    *("sha", "checksum", "generation", "uid"),
)
_TIME_LIMIT_NS = 1 << 62
SIZE_MAX = (1 << 63) - 1


class Facts(NamedTuple):
    """A file or a directory; None where the driver does not say."""

    is_directory: bool
    size: int | None = None
    mode: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    """A digest, or another word of the driver's for the content."""

    @property
    def version(self) -> tuple[int | None, int | None, str | None]:
        """Return what differs when the content differs, as far as the driver tells."""
        return self.size, self.mtime_ns, self.etag


DIRECTORY = Facts(is_directory=True)


def facts_of(info: Mapping[str, object]) -> Facts:
    """Return the facts in a driver's `info`; odd values count as not given."""
    if info.get("type") == "directory":
        return Facts(is_directory=True, mode=_mode(info.get("mode")), mtime_ns=_time(info))
    size = info.get("size", info.get("Size"))
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= SIZE_MAX:
        size = None
    digests = [str(info[name]) for name in _DIGESTS if info.get(name)]
    etag = " ".join(digests) if digests else None
    return Facts(False, size, _mode(info.get("mode")), _time(info), etag)


def _mode(value: object) -> int | None:
    """Return permission bits; git gives them as octal digits. Setuid and the like are not taken."""
    if isinstance(value, str):
        try:
            value = int(value, 8)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value & 0o1777 or None


def _time(info: Mapping[str, object]) -> int | None:
    for name in _TIMES:
        found = _nanoseconds(info.get(name))
        if found is not None and -_TIME_LIMIT_NS < found < _TIME_LIMIT_NS:
            return found
    return None


def _nanoseconds(value: object) -> int | None:
    try:
        if isinstance(value, str):
            value = _parsed(value)
        elif isinstance(value, tuple):  # as zipfile gives it
            value = datetime(*value[:6])
        if isinstance(value, datetime):
            zoned = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            return int(zoned.timestamp()) * 10**9 + zoned.microsecond * 1000
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value * 10**9)
    except (ValueError, OverflowError, TypeError, OSError):
        pass
    return None


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parsedate_to_datetime(text)
