"""Where a vfsd mount differs from tmpfs on purpose, or because FUSE leaves no choice.

A difference that is no longer one fails as stale.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """`seen` replaces these keys of the oracle's observation."""

    reason: str
    seen: dict[str, object]


DIFFERENCES = {
    "data_preallocation": Difference(
        "pyfuse3 3.5 has no fallocate; posix_fallocate(3) then writes, as it does on ext2",
        {
            "allocate": "ENOTSUP",
            "size": 4,
            "keep size": "ENOTSUP",
            "punch": "ENOTSUP",
            "data": b"data".hex(),
        },
    ),
    "opening_nameless_file": Difference(
        "pyfuse3 3.5 has no tmpfile, so O_TMPFILE is refused; programs then make a named file",
        {"outcome": "ENOTSUP"},
    ),
}

NO_MAP = (
    "only the shim tells a page that was changed through mmap from a write, so without it a handle "
    "that appends cannot be mapped to be changed; the page would be appended"
)

STOCK_DIFFERENCES = {
    "mapping_changed_by_an_appender": Difference(
        NO_MAP, {"map": "ENODEV", "size": 8192, "parts": ["00000", "00000", ""]}
    ),
    "mapping_written_back_by_an_appender": Difference(
        NO_MAP, {"child": "ENODEV", "size": 8192, "parts": ["first", "later", ""]}
    ),
}
"""The same, of a mount without the shim."""

RACES: dict[str, str] = {}
"""Cases that fail now and then for a known reason; they may pass."""
