"""Where a vfsd mount differs from tmpfs on purpose, or because FUSE leaves no choice.

A difference that is no longer one fails as stale.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """`seen` replaces these keys of the oracle's observation."""

    reason: str
    seen: dict[str, object]


_GONE = (
    "a provider frees a file with its last name and last handle, though the kernel may still "
    "hold its inode (an O_PATH fd, a working directory, an open directory)"
)

DIFFERENCES = {
    "removal_path_fd_outlives_the_name": Difference(
        _GONE, {"stat": "ESTALE", "open": "ESTALE", "chmod": "ESTALE", "directory": "ESTALE"}
    ),
    "directories_listing_of_removed_directory": Difference(
        _GONE, {"list": "ESTALE", "links": "ESTALE"}
    ),
    "directories_removed_working_directory": Difference(_GONE, {"list": "ESTALE"}),
    "attributes_write_drops_set_ids_of_users": Difference(
        "tmpfs drops a setgid bit without group execution too, unless the writer is in the group",
        {
            "write 2666 by user": [1, "0o2666"],
            "truncate 2666 by user": ["ok", "0o2666"],
            "open trunc 2666 by user": ["ok", "0o2666"],
        },
    ),
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

RACES = {
    "renaming_atomically_replaced": "ESTALE from open(2) when the file that the kernel looked up "
    f"was replaced before the open arrived: {_GONE}",
}
"""Cases that fail now and then for a known reason; they may pass."""
